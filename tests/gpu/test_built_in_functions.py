"""The built-in functions on a GPU: what they find, what they do when its memory runs out, their batch size."""

import copy
import importlib
import subprocess
import sys
import tempfile
import time

import pytest
import torch

from detection_matching import matched
from prefect_cvat import TaskLabel
from prefect_cvat.auto_annotation.functions import (
    ensemble,
    nanodet_detection,
    tiled,
    torchvision_classification,
    torchvision_detection,
    torchvision_instance_segmentation,
    torchvision_keypoint_detection,
)
from random_models import build_classifier, build_detector, build_keypoint_rcnn, build_mask_rcnn
from sam3_models import write_tiny_sam3

LABELS = {number: str(number) for number in range(1, 5)}


def transformers_function(name, family, *, score_threshold, **options):
    pytest.importorskip("transformers")
    import tiny_detectors
    import tiny_pose_models
    import tiny_word_models

    module = importlib.import_module(f"prefect_cvat.auto_annotation.functions.{name}")
    families = vars(tiny_detectors) | vars(tiny_pose_models) | vars(tiny_word_models)
    model, processor = copy.deepcopy(tiny_detectors.model_and_processor(families[family]))
    options |= {"model": model, "processor": processor}
    if name == "transformers_pose":
        detector = nanodet_detection.create(device=options["device"], score_threshold=0.3)
        return module.create(detector=detector, **options)
    if name == "open_vocabulary_detection":
        options["task_labels"] = [TaskLabel("cat", "rectangle"), TaskLabel("car", "rectangle")]
    return module.create(score_threshold=score_threshold, **options)


def ultralytics_function(**options):
    ultralytics = pytest.importorskip("ultralytics")
    from prefect_cvat.auto_annotation.functions import ultralytics_detection

    torch.manual_seed(0)
    yolo = ultralytics.YOLO("yolov8n.yaml")
    with torch.no_grad():
        for layers in yolo.model.model[-1].cv3:  # with the biases of new weights nothing is found
            layers[-1].bias.zero_()
    return ultralytics_detection.create(yolo, **options)


def sam3_function(**options):
    pytest.importorskip("transformers")
    from prefect_cvat.auto_annotation.functions import sam3_detection

    labels = [TaskLabel("cat", "rectangle"), TaskLabel("tree", "any")]
    with tempfile.TemporaryDirectory() as folder:
        write_tiny_sam3(folder)
        return sam3_detection.create(task_labels=labels, model=folder, **options)


FUNCTIONS = {
    "nanodet_detection": nanodet_detection.create,
    "tiled": lambda **options: tiled.create("nanodet_detection", tile=300, **options),
    "ensemble": lambda score_threshold, **options: ensemble.create(
        {
            "whole": nanodet_detection.create(**options),
            "tiles": tiled.create("nanodet_detection", tile=300, **options),
        },
        score_threshold=score_threshold,
    ),
    "torchvision_detection": lambda **options: torchvision_detection.create(
        model=build_detector(), label_map=LABELS, **options
    ),
    "torchvision_instance_segmentation": lambda **options: torchvision_instance_segmentation.create(
        model=build_mask_rcnn(), label_map=LABELS, **options
    ),
    "torchvision_keypoint_detection": lambda **options: torchvision_keypoint_detection.create(
        model=build_keypoint_rcnn(), **options
    ),
    "torchvision_classification": lambda **options: torchvision_classification.create(
        model=build_classifier(), label_map={number: str(number) for number in range(6)}, **options
    ),
    "transformers_detection": lambda **options: transformers_function(
        "transformers_detection", "yolos", **options
    ),
    "transformers_pose": lambda **options: transformers_function("transformers_pose", "vitpose", **options),
    "owlv2": lambda **options: transformers_function("open_vocabulary_detection", "owlv2", **options),
    "mm_grounding_dino": lambda **options: transformers_function(
        "open_vocabulary_detection", "mm_grounding_dino", **options
    ),
    "omdet_turbo": lambda **options: transformers_function(
        "open_vocabulary_detection", "omdet_turbo", **options
    ),
    "sam3_detection": sam3_function,
    "ultralytics_detection": ultralytics_function,
}
"""Makes each function; its weights are random but for NanoDet's."""

THRESHOLDS = {"nanodet_detection": 0.3, "tiled": 0.3, "ensemble": 0.3}
"""Of those whose scores mean something."""

SHARE_IN_HALF_PRECISION = {
    "nanodet_detection": 0.85,
    "tiled": 0.85,
    "ensemble": 0.85,
    # random weights have many objects of nearly equal scores: other ones are kept
    "torchvision_instance_segmentation": 0.0,
    "torchvision_keypoint_detection": 0.0,
    "owlv2": 0.0,
    "mm_grounding_dino": 0.0,
    "omdet_turbo": 0.0,
    "transformers_pose": 0.0,
}
"""Minimum share of detections that are found in half precision, too; 0.5 for the other functions."""


def make(name, device, **options):
    return FUNCTIONS[name](device=device, score_threshold=THRESHOLDS.get(name, 0.0), **options)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_finds_on_the_gpu_what_it_finds_on_the_cpu(name, device, photos, detections):
    on_cpu = detections(make(name, "cpu", batch_size=1))
    on_gpu = detections(make(name, device))
    assert matched(on_cpu, on_gpu, photos, min_iou=0.95, max_score_difference=0.01) >= 0.9


@pytest.mark.parametrize("name", ["nanodet_detection", "torchvision_classification"])
def test_finds_nearly_the_same_in_tf32(name, device, photos, detections):
    on_cpu = detections(make(name, "cpu", batch_size=1))
    on_gpu = detections(make(name, device))
    assert matched(on_cpu, on_gpu, photos, min_iou=0.9, max_score_difference=0.03) >= 0.9


@pytest.mark.parametrize("name", FUNCTIONS)
def test_finds_nearly_the_same_in_half_precision(name, device, photos, detections):
    exact = detections(make(name, device))
    half = detections(make(name, device, half_precision=True))
    share = matched(exact, half, photos, min_iou=0.8, max_score_difference=0.1)
    assert share >= SHARE_IN_HALF_PRECISION.get(name, 0.5)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_version_does_not_depend_on_the_device(name, device):
    assert make(name, device).version == make(name, "cpu").version


def test_channels_are_last(cuda):
    function = make("torchvision_detection", cuda)
    weight = function._loaded_model().backbone.body.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_batch_is_halved_when_memory_runs_out(cuda, photos, context):
    def make_function(batch_size):
        model = build_detector(min_size=640, max_size=640)
        return torchvision_detection.create(
            model=model, label_map=LABELS, device=cuda, score_threshold=0.0, batch_size=batch_size
        )

    def detect(function, images):
        return function.detect_batch([context] * images, [photos[0]] * images)

    def peak(images):
        function = make_function(images)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        detect(function, images)
        peak = torch.cuda.max_memory_reserved()
        function.close()
        return peak

    one, sixteen = peak(1), peak(16)
    assert sixteen > 2 * one
    room = (one + sixteen) / 2
    torch.cuda.set_per_process_memory_fraction(
        room / torch.cuda.get_device_properties(cuda).total_memory, cuda
    )
    try:
        function = make_function(16)
        found = detect(function, 16)
        assert 1 <= function.batch_size < 16
        assert len(found) == 16
        assert all(found)
        smaller = function.batch_size
        detect(function, 16)
        assert function.batch_size == smaller
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)


def test_search_finds_a_fast_batch_size(cuda, photos, context):
    function = make("nanodet_detection", cuda)
    inputs = [function.preprocess_image(context, photos[0])] * 64
    given = 0
    while not function._batches._search.is_done:
        size = function.batch_size
        function.infer_batch([context] * size, inputs[:size])
        given += size
        assert given < 2000
    found = function.batch_size

    def rate(size):
        fixed = make("nanodet_detection", cuda, batch_size=size)
        best = 0.0
        for _ in range(6):
            started = time.perf_counter()
            fixed.infer_batch([context] * size, inputs[:size])
            best = max(best, size / (time.perf_counter() - started))
        return best

    rates = {size: rate(size) for size in (1, 2, 4, 8, 16, 32, 64)}
    print(f"found {found} after {given} images; images per second by batch size: {rates}")
    assert rates[found] >= 0.6 * max(rates.values())


DIES = """
import sys
import PIL.Image
import torch
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.exceptions import DeviceError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector

class Dies:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    batch_size = 2

    def infer_batch(self, contexts, inputs):
        wrong = 5 if contexts[0].frame_name == "4.jpg" else 0
        return torch.zeros(1, device="cuda")[torch.tensor([wrong], device="cuda")].tolist() * len(inputs)

    def preprocess_image(self, context, image):
        return image.size

    def postprocess(self, context, output):
        return []

builtin = nanodet_detection.create(device="cuda")
image = PIL.Image.new("RGB", (64, 48))
opened = [(Frame(i, f"{i}.jpg", 64, 48), image.copy()) for i in range(12)]
try:
    list(Detector(Dies(), on_frame_error="skip").detect(opened))
except DeviceError as error:
    print(error)
builtin.close()
"""


def test_device_that_fails_ends_the_run(cuda):
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "frame 4 (4.jpg), frame 5 (5.jpg): the device of 'Dies' has failed: " in done.stdout
    assert "CUDA error: device-side assert triggered" in done.stdout
