"""Properties of all built-in functions that run a model."""

import copy

import pytest
import torch
from torch import nn

from prefect_cvat.auto_annotation.functions import (
    ensemble,
    nanodet_detection,
    tiled,
    torchvision_classification,
    torchvision_detection,
    torchvision_instance_segmentation,
    torchvision_keypoint_detection,
)
from prefect_cvat.inference.output_checks import OutputChecker

BY_NAME = {
    torchvision_detection: "detector_name",
    torchvision_instance_segmentation: "mask_rcnn_name",
    torchvision_classification: "classifier_name",
    torchvision_keypoint_detection: "keypoint_rcnn_name",
}


@pytest.fixture(
    scope="module",
    params=[nanodet_detection, tiled, ensemble, *BY_NAME],
    ids=lambda module: module.__name__.rpartition(".")[2],
)
def function(request):
    if request.param is nanodet_detection:
        return nanodet_detection.create(device="cpu")
    if request.param is tiled:
        return tiled.create("nanodet_detection", tile=300, device="cpu")
    if request.param is ensemble:
        detector = torchvision_detection.create(request.getfixturevalue("detector_name"), device="cpu")
        return ensemble.create({"one": nanodet_detection.create(device="cpu"), "two": detector})
    return request.param.create(request.getfixturevalue(BY_NAME[request.param]), device="cpu")


@pytest.mark.parametrize("conv_mask_to_poly", [False, True])
def test_output_can_be_uploaded(function, context, photos, conv_mask_to_poly):
    checker = OutputChecker(function.spec.labels, conv_mask_to_poly=conv_mask_to_poly)
    annotations = function.detect(context(0.0, conv_mask_to_poly=conv_mask_to_poly), photos[1])
    detections = checker.check(0, annotations)
    assert detections.tags or detections.shapes
    assert all(0 <= shape.score <= 1 for shape in detections.shapes)


def test_version_is_the_same_before_and_after_use(function, context, photos):
    version = function.version
    function.detect(context(), photos[0])
    vars(function).pop("version", None)  # drop the cached result
    assert function.version == version


class NeedsMemory(nn.Module):
    """A model for which there is memory for only two images."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(images)


def test_batch_size_is_searched_on_an_accelerator_unless_it_is_given(random_detector):
    def batch_size(device, **options):
        function = torchvision_detection.create(
            model=copy.deepcopy(random_detector), label_map={2: "a"}, device=device, **options
        )
        return function.batch_size

    assert batch_size("cpu") == 1
    assert batch_size("meta") == 2, "a device that is not the CPU"
    assert batch_size("meta", batch_size=8) == 8
    assert nanodet_detection.create(device="cpu").batch_size == 8
    assert nanodet_detection.create(device="meta").batch_size == 2


def test_layout_changes_neither_detections_nor_the_version(function, context, photos, monkeypatch):
    """As on CUDA, but on the CPU."""
    if isinstance(function, ensemble.EnsembleFunction):
        pytest.skip("it has no model of its own")
    if isinstance(function, tiled.TiledFunction):
        function = function.function
    model = function._loaded_model()
    before, version = function.detect_batch([context()] * 2, photos[:2]), function.version
    monkeypatch.delitem(function.__dict__, "version")
    model.to(memory_format=torch.channels_last)
    try:
        assert any(
            each.ndim == 4
            and not each.is_contiguous()
            and each.is_contiguous(memory_format=torch.channels_last)
            for each in model.parameters()
        )
        after = function.detect_batch([context()] * 2, photos[:2])
        assert function.version == version
    finally:
        model.to(memory_format=torch.contiguous_format)
    for old, new in zip(before, after, strict=True):
        assert [each.label_id for each in old] == [each.label_id for each in new]
        for one, other in zip(old, new, strict=True):
            assert getattr(other, "score", None) == pytest.approx(getattr(one, "score", None), abs=1e-4)
            assert getattr(other, "points", []) == pytest.approx(getattr(one, "points", []), abs=0.1)


def test_batches_become_small_enough_for_the_memory(random_detector, context, photos):
    model = NeedsMemory(random_detector)
    function = torchvision_detection.create(
        model=model, label_map={2: "a", 3: "b"}, device="cpu", batch_size=5, score_threshold=0.0
    )
    found = function.detect_batch([context()] * 5, [photos[0]] * 5)
    assert model.batches == [5, 2, 2, 1]
    assert function.batch_size == 2
    assert len(found) == 5
    assert all(found)
