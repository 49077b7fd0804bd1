"""What the tests of models of transformers share."""

import pytest


@pytest.fixture
def small_photos(photos):
    """Two of one size and one of another."""
    return [photos[1].resize((120, 80)), photos[2].resize((120, 80)), photos[0].resize((70, 90))]


@pytest.fixture
def make():
    """Make the function of a family of models."""
    pytest.importorskip("transformers")
    from prefect_cvat.auto_annotation.functions import transformers_detection
    from tiny_detectors import model_and_processor

    def make(family, **options):
        model, processor = model_and_processor(family)
        settings = {"processor": processor, "score_threshold": 0.0, "device": "cpu"}
        return transformers_detection.create(model, **(settings | options))

    return make
