"""Unmodified functions written for the SDK give the same annotations here."""

import functools
import importlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch
import torchvision.models
from torchvision.models import WeightsEnum

from compatibility import sdk_function
from compatibility.libraries import OURS, SDK, Library, a_function
from prefect_cvat.auto_annotation.loading import load_function_file, load_function_module

FOLDER = Path(__file__).parent


def task_labels(spec: Any) -> list[Any]:
    """Labels of a task for a function with this spec: the same ones, without ids."""
    cvataa = OURS.cvataa

    def attributes(owner: Any) -> list[Any]:
        return [
            cvataa.attribute_spec(item.name, None, item.input_type.value, item.values)
            for item in getattr(owner, "attributes", ())
        ]

    labels = {}
    for label in spec.labels:
        keypoints = [
            cvataa.keypoint_spec(item.name, None, attributes=attributes(item))
            for item in getattr(label, "sublabels", ())
        ]
        labels[label.name] = cvataa.label_spec(
            label.name,
            None,
            type=getattr(label, "type", "any"),
            attributes=attributes(label),
            sublabels=keypoints,
        )
    return list(labels.values())


@pytest.fixture
def annotated(annotate, new_task, read) -> Callable[..., list[dict[str, Any]]]:
    """The annotations that a library creates in a new task with a function."""

    def annotated(lib: Library, function: Any, images: Any = None, **options: Any) -> list[dict[str, Any]]:
        task_id = new_task(task_labels(function.spec), images)
        annotate(lib, task_id, function, **options)
        return read(task_id)

    return annotated


class AnObject:
    spec = sdk_function.spec

    def detect(self, context: Any, image: PIL.Image.Image) -> Any:
        return sdk_function.detect(context, image)


FORMS: dict[str, Callable[[], Any]] = {
    "module": lambda: sdk_function,
    "module by name": lambda: load_function_module("compatibility.sdk_function"),
    "file": lambda: load_function_file(FOLDER / "sdk_function.py"),
    "object": AnObject,
    "namespace": lambda: SimpleNamespace(spec=sdk_function.spec, detect=sdk_function.detect),
    "generator": lambda: a_function(sdk_function.spec, lambda c, i: iter(sdk_function.detect(c, i))),
    "tuple": lambda: a_function(sdk_function.spec, lambda c, i: tuple(sdk_function.detect(c, i))),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_annotation_type_in_every_form_of_function(annotated, form):
    expected = annotated(SDK, sdk_function)
    assert len(expected) == 3 * 12
    assert annotated(OURS, form()) == expected


def test_comparison_covers_all_annotations(annotated):
    """So that nothing is equal only because it is missing on both sides."""
    found = annotated(OURS, sdk_function)
    of_frame_1 = [item for item in found if item["frame"] == 1]
    assert sorted(str(item.get("type")) for item in of_frame_1) == sorted(
        [
            *("None", "None", "rectangle", "rectangle", "rectangle", "polygon", "polyline", "points"),
            *("ellipse", "cuboid", "mask", "skeleton"),
        ]
    )
    assert {item["source"] for item in found} == {"auto"}
    [turned] = [item for item in of_frame_1 if item.get("rotation")]
    assert (turned["rotation"], turned["occluded"], turned["z_order"], turned["score"]) == (
        33.3,
        True,
        2,
        0.25,
    )
    [land] = [item for item in of_frame_1 if item["label"] == "land"]
    assert land["group"] == 3
    [car] = [item for item in of_frame_1 if ("plate", "0001.png") in item["attributes"]]
    assert dict(car["attributes"]).keys() == {"doors", "colour", "parked", "plate", "side"}
    assert dict(car["attributes"])["parked"] == "true"
    [body] = [item for item in of_frame_1 if item["label"] == "body"]
    assert body["attributes"] == [("moves", "false")]
    assert [(e["label"], e["occluded"], e["outside"], len(e["points"])) for e in body["elements"]] == [
        ("foot", False, True, 2),
        ("hand", True, False, 2),
        ("head", False, False, 2),
    ]
    assert body["elements"][2]["attributes"] == [("hat", "cap")]
    # other images, other annotations
    assert len({str(item["points"]) for item in found if item["label"] == "land"}) == 3


@pytest.mark.parametrize("options", [{"conv_mask_to_poly": True}, {"conf_threshold": 0.75}], ids=str)
def test_options_reach_the_function_as_in_the_sdk(annotate, new_task, read, options):
    labels = [*task_labels(sdk_function.spec)]
    for label in labels:
        if label.name == "blob":
            label.type = "any"
    tasks = {lib.name: new_task(labels) for lib in (SDK, OURS)}
    for lib in (SDK, OURS):
        annotate(lib, tasks[lib.name], sdk_function, **options)
    expected = read(tasks["cvat_sdk"])
    assert len(expected) == 3 * 12
    assert read(tasks["prefect_cvat"]) == expected
    types = {item["type"] for item in expected if item["label"] == "blob"}
    assert types == {"polygon" if "conv_mask_to_poly" in options else "mask"}
    assert (0.75 in {item.get("score") for item in expected}) == ("conf_threshold" in options)


def test_unmatched_labels_are_dropped_as_in_the_sdk(annotate, new_task, read):
    """Some labels are missing; others, and a keypoint, lack an attribute."""
    labels = [label for label in task_labels(sdk_function.spec) if label.name not in ("land", "scene", "eye")]
    for label in labels:
        label.attributes = label.attributes[1:]
        for sublabel in label.sublabels:
            sublabel.attributes = []
        label.sublabels = label.sublabels[:2]
    tasks = {lib.name: new_task(labels) for lib in (SDK, OURS)}
    for lib in (SDK, OURS):
        with pytest.raises(lib.error):
            annotate(lib, tasks[lib.name], sdk_function)
        annotate(lib, tasks[lib.name], sdk_function, allow_unmatched_labels=True)
    expected = read(tasks["cvat_sdk"])
    assert len(expected) == 3 * 9
    assert {len(item["elements"]) for item in expected if item["label"] == "body"} == {2}
    assert read(tasks["prefect_cvat"]) == expected


@pytest.mark.parametrize("clear_existing", [False, True])
def test_existing_annotations_are_kept_or_cleared_as_in_the_sdk(annotate, new_task, read, clear_existing):
    def first(context: Any, image: Any) -> Any:
        return [SDK.cvataa.tag(sdk_function.THING), SDK.cvataa.rectangle(sdk_function.THING, [1, 1, 3, 3])]

    tasks = {lib.name: new_task(task_labels(sdk_function.spec)) for lib in (SDK, OURS)}
    for lib in (SDK, OURS):
        annotate(SDK, tasks[lib.name], a_function(sdk_function.spec, first))
        annotate(lib, tasks[lib.name], sdk_function, clear_existing=clear_existing)
    expected = read(tasks["cvat_sdk"])
    # we do not add an existing tag again; the SDK does
    repeated = (
        []
        if clear_existing
        else [item for item in expected if item["label"] == "thing" and item["kind"] == "tag"]
    )
    assert len(expected) == 3 * (12 if clear_existing else 14)
    ours = read(tasks["prefect_cvat"])
    assert len(ours) == len(expected) - len(repeated) // 2
    assert [item for item in ours if item["kind"] == "shape"] == [
        item for item in expected if item["kind"] == "shape"
    ]


def test_a_function_file_with_create_and_parameters(annotated, new_task, read, annotate):
    path = FOLDER / "sdk_function_with_create.py"
    ours = load_function_file(path, {"size": 5.5, "label": "bus"})
    theirs = load_function_file(path, {"size": 5.5, "label": "bus"})
    expected = annotated(SDK, theirs)
    assert [item["points"] for item in expected] == [[1.0, 2.0, 6.5, 47.0]] * 3
    assert annotated(OURS, ours) == expected
    assert ours.seen == theirs.seen == ["0000.png", "0001.png", "0002.png"]


@pytest.mark.parametrize("lib", [SDK, OURS], ids=lambda lib: lib.name)
def test_an_error_of_the_function_ends_the_run(annotated, lib):
    """The SDK does not catch it; we name the frame, as the SDK does in its own errors."""

    def detect(context: Any, image: Any) -> Any:
        raise SDK.error("I will not")

    with pytest.raises(lib.error, match="I will not"):
        annotated(lib, a_function(sdk_function.spec, detect))


# --- the SDK's built-in functions ---


class Context(SDK.cvataa.DetectionFunctionContext):
    frame_name = "photo.png"
    conf_threshold = None
    conv_mask_to_poly = False


SMALL = {
    **{"min_size": 48, "max_size": 64, "box_score_thresh": 0.0, "box_detections_per_img": 1},
    "rpn_post_nms_top_n_test": 10,
}

NAMED = {
    "torchvision_classification": ("squeezenet1_1", {}),
    "torchvision_detection": ("fasterrcnn_mobilenet_v3_large_320_fpn", SMALL),
    "torchvision_instance_segmentation": ("maskrcnn_resnet50_fpn", SMALL),
    "torchvision_keypoint_detection": ("keypointrcnn_resnet50_fpn", SMALL),
}


@pytest.fixture(scope="module")
def sdk_builtin() -> Iterator[Callable[[str], Any]]:
    """Makes the SDK's built-in functions, each once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_random_weights(monkeypatch)

        @functools.cache
        def make(module: str) -> Any:
            model, settings = NAMED[module]
            create = importlib.import_module(f"cvat_sdk.auto_annotation.functions.{module}").create
            return create(model, **settings)

        yield make


def use_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of downloaded weights, random ones that are always the same."""

    def get_state_dict(weights: WeightsEnum, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        name = next(
            model
            for model, _ in NAMED.values()
            if torchvision.models.get_model_weights(model) is type(weights)
        )
        torch.manual_seed(3)
        without_backbone = {"weights_backbone": None} if "rcnn" in name else {}
        state = torchvision.models.get_model(name, weights=None, **without_backbone).state_dict()
        for key in [key for key in state if key.endswith("cls_score.bias")]:
            # classes without a COCO name would be unknown labels
            state[key.replace("bias", "weight")] *= 0.05
            state[key][4:] = -20.0
        return state

    monkeypatch.setattr(WeightsEnum, "get_state_dict", get_state_dict)


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    return {
        name: small_png(photo)
        for name, photo in {
            "astronaut.png": skimage.data.astronaut(),
            "coffee.png": skimage.data.coffee(),
        }.items()
    }


def small_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).resize((120, 96)).save(buffer, "PNG")
    return buffer.getvalue()


def is_a_line(item: dict[str, Any]) -> bool:
    """Whether an annotation is a polygon of two corners and the first one again."""
    points = item.get("points") or ()
    return item.get("type") == "polygon" and len(set(zip(points[0::2], points[1::2], strict=True))) < 3


@pytest.mark.parametrize(
    ("module", "options", "types"),
    [
        ("torchvision_classification", {}, {None}),
        ("torchvision_detection", {}, {"rectangle"}),
        ("torchvision_instance_segmentation", {}, {"mask"}),
        ("torchvision_instance_segmentation", {"conv_mask_to_poly": True}, {"polygon"}),
        ("torchvision_keypoint_detection", {}, {"skeleton"}),
    ],
    ids=["classification", "detection", "masks", "polygons", "keypoints"],
)
def test_the_sdks_own_functions(annotate, new_task, read, photos, sdk_builtin, module, options, types):
    function = sdk_builtin(module)
    labels = task_labels(function.spec)
    if module == "torchvision_classification":  # of its thousand labels, those it finds
        names = {label.id: label.name for label in function.spec.labels}
        images = [PIL.Image.open(io.BytesIO(photo)) for photo in photos.values()]
        found = {names[tag.label_id] for image in images for tag in function.detect(Context(), image)}
        labels = [label for label in labels if label.name in found]
        options = {"allow_unmatched_labels": True}
    if "conv_mask_to_poly" in options:
        for label in labels:
            label.type = "any"
    tasks = {lib.name: new_task(labels, photos) for lib in (SDK, OURS)}
    for lib in (SDK, OURS):
        annotate(lib, tasks[lib.name], function, **options)
    expected = [item for item in read(tasks["cvat_sdk"]) if not is_a_line(item)]  # empty: we drop it
    assert {item["frame"] for item in expected} == {0, 1}
    assert {item.get("type") for item in expected} == types
    assert read(tasks["prefect_cvat"]) == expected
