"""Our functions run by the SDK's own `annotate_task` give what they give when we run them."""

import importlib

import cvat_sdk.auto_annotation
import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from compatibility import sdk_function
from compatibility.libraries import OURS, SDK, a_function
from compatibility.test_sdk_functions import small_png, task_labels
from onnx_exports import SIZE, YOLO_METADATA, RawYolo, export
from prefect_cvat import TaskLabel
from prefect_cvat.auto_annotation import functions
from prefect_cvat.for_cvat_sdk import as_cvat_sdk
from random_models import build_classifier, build_detector, build_keypoint_rcnn, build_mask_rcnn
from sam3_models import write_tiny_sam3

CLASSES = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle"}
KEYPOINTS = [f"point {number}" for number in range(17)]
MODELS = {
    "torchvision_detection": (build_detector, {"label_map": CLASSES}),
    "torchvision_instance_segmentation": (build_mask_rcnn, {"label_map": CLASSES}),
    "torchvision_keypoint_detection": (
        build_keypoint_rcnn,
        {"label_map": {1: "person"}, "keypoint_names": KEYPOINTS},
    ),
    "torchvision_classification": (build_classifier, {"label_map": dict(enumerate("abcdef"))}),
}
WITH_FILES = {
    "nanodet_detection": {},
    "tiled": {"function": "nanodet_detection", "tile": 64},
    "ensemble": {
        "whole": "nanodet_detection",
        "tiles": "tiled",
        "tiles.function": "nanodet_detection",
        "tiles.tile": 300,
    },
}
OF_TRANSFORMERS = ["open_vocabulary_detection", "transformers_detection", "transformers_pose"]
TRIED = [*WITH_FILES, *MODELS, "onnx_detection", "sam3_detection", *OF_TRANSFORMERS]
NOT_INSTALLED = {"ultralytics_detection"}
"""Its licence is not ours; it makes the same objects as the others."""


@pytest.fixture(scope="module")
def photos():
    return {
        "astronaut.png": small_png(skimage.data.astronaut()),
        "coffee.png": small_png(skimage.data.coffee()),
    }


def of_transformers(name, create):
    """A function of transformers, of a small model with random weights that are always the same."""
    pytest.importorskip("transformers")
    from prefect_cvat.auto_annotation.functions import transformers_detection
    from tiny_detectors import NAMES, model_and_processor, yolos
    from tiny_pose_models import vitpose
    from tiny_word_models import owlv2

    families = {"open_vocabulary_detection": owlv2, "transformers_pose": vitpose}
    model, processor = model_and_processor(families.get(name, yolos))
    settings = {
        "open_vocabulary_detection": {
            "task_labels": [TaskLabel("cat", "rectangle"), TaskLabel("person", "any")],
            "score_threshold": 0.0,
        },
        "transformers_detection": {"score_threshold": 0.0},
        "transformers_pose": {"labels": dict.fromkeys(NAMES.values(), "person")},
    }
    if name == "transformers_pose":
        settings[name]["detector"] = of_transformers("transformers_detection", transformers_detection.create)
    return create(model=model, processor=processor, device="cpu", **settings[name])


@pytest.fixture
def make(tmp_path):
    """Make a built-in function, with a small model where it has none of its own."""

    def make(name):
        module = importlib.import_module(f"{functions.__name__}.{name}")
        if name in WITH_FILES:
            return module.create(**WITH_FILES[name])
        if name == "onnx_detection":
            images = (torch.zeros(1, 3, *SIZE),)
            return module.create(
                export(RawYolo(), tmp_path / "yolo.onnx", images, ["output0"], metadata=YOLO_METADATA)
            )
        if name == "sam3_detection":
            pytest.importorskip("transformers")
            write_tiny_sam3(tmp_path)
            labels = [TaskLabel("person", "mask"), TaskLabel("road", "rectangle")]
            return module.create(task_labels=labels, model=str(tmp_path), score_threshold=0.0, device="cpu")
        if name in OF_TRANSFORMERS:
            return of_transformers(name, module.create)
        build, options = MODELS[name]
        return module.create(model=build(), **options)

    return make


def test_all_built_in_detection_functions_are_tried():
    detecting = {name for name in functions.EXTRAS if "tracking" not in name and "interaction" not in name}
    assert detecting == {*TRIED} | NOT_INSTALLED


@pytest.mark.parametrize("conv_mask_to_poly", [False, True], ids=["masks", "polygons"])
@pytest.mark.parametrize("name", TRIED)
def test_built_in_function(annotate, new_task, read, photos, make, name, conv_mask_to_poly):
    function = make(name)
    labels = task_labels(function.spec)
    for label in labels:
        label.type = "any" if label.type == "mask" else label.type
    tasks = {lib.name: new_task(labels, photos) for lib in (SDK, OURS)}
    options = {"conf_threshold": 0.2, "conv_mask_to_poly": conv_mask_to_poly}
    annotate(SDK, tasks["cvat_sdk"], as_cvat_sdk(function), **options)
    annotate(OURS, tasks["prefect_cvat"], function, **options)
    found = read(tasks["cvat_sdk"])
    assert {item["frame"] for item in found} == {0, 1}
    assert found == read(tasks["prefect_cvat"])


@pytest.mark.parametrize("options", [{}, {"conv_mask_to_poly": True}, {"conf_threshold": 0.75}], ids=str)
def test_every_annotation_type(annotate, new_task, read, options):
    """A function of the SDK, whose objects become ours and the SDK's again."""
    labels = task_labels(sdk_function.spec)
    for label in labels:
        label.type = "any" if label.name == "blob" else label.type
    tasks = [new_task(labels), new_task(labels)]
    annotate(SDK, tasks[0], sdk_function, **options)
    annotate(SDK, tasks[1], as_cvat_sdk(sdk_function), **options)
    expected = read(tasks[0])
    assert len(expected) == 3 * 12
    assert read(tasks[1]) == expected


def test_spec_is_the_same_to_the_sdk():
    spec = as_cvat_sdk(sdk_function).spec
    assert isinstance(spec, cvat_sdk.auto_annotation.DetectionFunctionSpec)
    for ours, theirs in zip(spec.labels, sdk_function.spec.labels, strict=True):
        given = theirs.to_dict()
        assert {name: ours.to_dict()[name] for name in given.keys() - {"sublabels"}} == {
            name: given[name] for name in given.keys() - {"sublabels"}
        }


def test_bad_output_is_the_error_of_the_sdk(annotate, new_task):
    cvataa = OURS.cvataa
    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])
    bad = a_function(spec, lambda context, image: [cvataa.rectangle(7, [1, 2, 3, 4])])
    with pytest.raises(SDK.error, match=r"0000.png: function output shape with unknown label ID \(7\)"):
        annotate(SDK, new_task(task_labels(spec)), as_cvat_sdk(bad))


def test_failure_of_a_function_names_its_line(annotate, new_task):
    cvataa = OURS.cvataa
    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

    def detect(context, image):
        raise KeyError("nothing here")

    with pytest.raises(SDK.error, match=r"0000.png.*nothing here.*test_for_cvat_sdk.py, line \d+, in detect"):
        annotate(SDK, new_task(task_labels(spec)), as_cvat_sdk(a_function(spec, detect)))


@pytest.mark.parametrize("spec", [None, object(), {"labels": []}], ids=["none", "object", "dict"])
def test_what_is_no_function_is_refused(spec):
    with pytest.raises(SDK.error, match="is not a detection, tracking or interaction function"):
        as_cvat_sdk(a_function(spec, None))


def test_images_of_numbers_of_numpy_become_plain_numbers():
    cvataa = OURS.cvataa
    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])
    points = np.array([[1, 2], [30, 4.5]], dtype=np.float32)

    class Context(SDK.cvataa.DetectionFunctionContext):
        frame_name, conf_threshold, conv_mask_to_poly = "a.png", None, False

    function = a_function(
        spec, lambda context, image: [cvataa.rectangle(0, points, score=torch.tensor(0.5).item())]
    )
    [shape] = as_cvat_sdk(function).detect(Context(), PIL.Image.new("RGB", (64, 48)))
    assert shape.points == [1.0, 2.0, 30.0, 4.5]
    assert all(type(number) is float for number in shape.points)


def test_a_class_in_place_of_an_object_is_the_error_of_the_sdk():
    class Detector:
        spec = sdk_function.spec

    with pytest.raises(SDK.error, match=r"'Detector' is not .* but a class .*give an object of it: Detector"):
        as_cvat_sdk(Detector)


def test_detections_are_clipped_to_the_image_as_in_our_runs(annotate, new_task, read):
    cvataa = OURS.cvataa
    body = cvataa.skeleton_label_spec(
        "body", 2, [cvataa.keypoint_spec("head", 0), cvataa.keypoint_spec("foot", 1)]
    )
    spec = cvataa.DetectionFunctionSpec(
        labels=[cvataa.label_spec("car", 0), cvataa.label_spec("road", 1, type="polyline"), body]
    )

    def skeleton(head, foot):
        return cvataa.skeleton(2, [cvataa.keypoint(0, head), cvataa.keypoint(1, foot)])

    function = a_function(
        spec,
        lambda context, image: [
            cvataa.rectangle(0, [-5, 10, 500, 20]),
            cvataa.rectangle(0, [100, 100, 200, 200]),
            cvataa.polyline(1, [10, 10, 10, -20, 30, -20, 30, 10]),
            skeleton([5, 5], [5, 500]),
            skeleton([5, 400], [5, 500]),
        ],
    )
    tasks = [new_task(task_labels(spec)), new_task(task_labels(spec))]
    annotate(SDK, tasks[0], as_cvat_sdk(function))
    annotate(OURS, tasks[1], function)
    found = read(tasks[0])
    assert found == read(tasks[1])
    assert sorted(item["type"] for item in found if item["frame"] == 0) == [
        *("polyline", "polyline", "rectangle", "skeleton"),
    ]
