"""What the tests of models that take words share."""

import pytest

from prefect_cvat import TaskLabel


@pytest.fixture
def small_photos(photos):
    """Two of one size and one of another."""
    return [photos[1].resize((120, 80)), photos[2].resize((120, 80)), photos[0].resize((70, 90))]


@pytest.fixture
def labels():
    """Make labels of a task for boxes, of their names."""
    return lambda *names: [TaskLabel(name, "rectangle") for name in names]


@pytest.fixture
def make(labels):
    """Make the function of a family of models, for labels of these names."""
    pytest.importorskip("transformers")
    from prefect_cvat.auto_annotation.functions import open_vocabulary_detection
    from tiny_detectors import model_and_processor

    def make(family, *names, **options):
        model, processor = model_and_processor(family)
        settings = {"task_labels": labels(*names), "model": model, "processor": processor}
        settings |= {"score_threshold": 0.0, "device": "cpu"}
        return open_vocabulary_detection.create(**(settings | options))

    return make
