"""Output with several errors: the error reported is the one that the SDK reports.

Faults of one shape and of several, on labels of every kind: such that only the task has a type for, such
that the task does not have, and skeletons with keypoints and attributes that the task does not have.
"""

import re
from collections.abc import Callable
from typing import Any

import cvat_sdk.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compatibility.libraries import (
    BY_SDK,
    BY_US,
    OURS,
    SDK_BY_US,
    Library,
    Pairing,
    a_function,
    assert_says_what_the_sdk_says,
)
from pictures import picture

CAR, THING, SCENE, BODY, POSE, BOAT, FREE = range(1, 8)
DOORS, COLOUR, AGE = range(31, 34)
HEAD, HAND, TAIL = range(21, 24)
UNKNOWN = 99


def function_labels(lib: Library) -> list[Any]:
    cvataa = lib.cvataa

    def attributes() -> list[Any]:
        return [
            cvataa.number_attribute_spec("doors", DOORS, ["0", "6", "2"]),
            cvataa.select_attribute_spec("colour", COLOUR, ["red", "blue"]),
            cvataa.checkbox_attribute_spec("age", AGE),
        ]

    return [
        cvataa.label_spec("car", CAR, type="rectangle", attributes=attributes()),
        cvataa.label_spec("thing", THING, attributes=attributes()),
        cvataa.label_spec("scene", SCENE),
        cvataa.skeleton_label_spec(
            "body",
            BODY,
            [
                cvataa.keypoint_spec("head", HEAD, attributes=attributes()),
                cvataa.keypoint_spec("hand", HAND),
                cvataa.keypoint_spec("tail", TAIL, attributes=attributes()),
            ],
        ),
        cvataa.label_spec("pose", POSE),
        cvataa.label_spec("boat", BOAT, type="rectangle", attributes=attributes()),
        cvataa.label_spec("free", FREE, attributes=attributes()),
    ]


def task_labels() -> list[Any]:
    """No label 'boat', no keypoint 'tail', no attribute 'age'; types where the function has none."""
    cvataa = OURS.cvataa

    def attributes() -> list[Any]:
        return [
            cvataa.number_attribute_spec("doors", None, ["0", "6", "2"]),
            cvataa.select_attribute_spec("colour", None, ["red", "blue"]),
        ]

    head = cvataa.keypoint_spec("head", None, attributes=attributes())
    hand = cvataa.keypoint_spec("hand", None)
    return [
        cvataa.label_spec("car", None, type="rectangle", attributes=attributes()),
        cvataa.label_spec("thing", None, type="rectangle", attributes=attributes()),
        cvataa.label_spec("scene", None, type="tag"),
        cvataa.skeleton_label_spec("body", None, [head, hand]),
        cvataa.skeleton_label_spec("pose", None, [cvataa.keypoint_spec("nose", None)]),
        cvataa.label_spec("free", None, attributes=attributes()),
    ]


# --- descriptions of output, made into objects of either library ---

Fields = dict[str, Any]
POINTS = {
    "rectangle": [1, 2, 30, 40],
    "polygon": [1, 1, 20, 1, 20, 20],
    "mask": [0, 4, 10, 10, 11, 11],
    "points": [5, 6],
    "skeleton": [],
}
FAULTS: list[Fields] = [
    {"id": 5},
    {"source": "auto"},
    {"frame": 1},
    {"label_id": UNKNOWN},
    {"attributes": [(UNKNOWN, "4")]},
    {"attributes": [(DOORS, "8")]},
    {"attributes": [(DOORS, "4"), (DOORS, "8")]},
    {"attributes": [(AGE, "old"), (DOORS, "8")]},
    {"attributes": [(AGE, "true"), (AGE, "true")]},
]
HARMFUL: list[Fields] = [{"points": [1.0]}, {"points": [float("inf")] * 6}]
"""The fields that the SDK does not check."""


def keypoint(label_id: int, **fields: Any) -> Fields:
    return {"type": "points", "label_id": label_id, "frame": 0, "points": POINTS["points"]} | fields


WHOLE = [keypoint(HEAD), keypoint(HAND), keypoint(TAIL)]
KEYPOINT_FAULTS = [
    *FAULTS,
    *HARMFUL,
    {"type": "rectangle", "points": POINTS["rectangle"]},
    {"label_id": HAND},
]
SHAPE_FAULTS = [
    *FAULTS,
    *HARMFUL,
    *({"type": name, "points": points, "elements": []} for name, points in POINTS.items()),
    {"elements": [keypoint(HEAD)]},
    {"elements": [keypoint(HEAD, id=5)]},
]


@st.composite
def with_faults(draw: st.DrawFn, fields: Fields, faults: list[Fields], most: int = 2) -> Fields:
    for fault in draw(st.lists(st.sampled_from(faults), max_size=most)):
        fields = fields | fault
    return fields


@st.composite
def skeleton(draw: st.DrawFn) -> Fields:
    elements = list(WHOLE)
    for number in draw(st.lists(st.integers(0, 2), max_size=2)):
        elements[number] = draw(with_faults(elements[number], KEYPOINT_FAULTS))
    if draw(st.sampled_from([False, False, True])):
        elements.pop(draw(st.integers(0, 2)))
    body = {"type": "skeleton", "label_id": BODY, "frame": 0, "points": [], "elements": elements}
    return draw(with_faults(body, SHAPE_FAULTS, 1))


@st.composite
def shape(draw: st.DrawFn) -> Fields:
    label_id = draw(st.sampled_from([CAR, THING, SCENE, BODY, POSE, BOAT, FREE]))
    good = {"type": "rectangle", "label_id": label_id, "frame": 0, "points": POINTS["rectangle"]}
    return draw(with_faults(good, SHAPE_FAULTS))


@st.composite
def tag(draw: st.DrawFn) -> Fields:
    label_id = draw(st.sampled_from([CAR, THING, SCENE, BODY, BOAT, FREE]))
    return draw(with_faults({"label_id": label_id, "frame": 0}, FAULTS))


outputs = st.lists(st.one_of(shape(), skeleton(), tag(), st.just({})), min_size=1, max_size=2)


def made(lib: Library, fields: Fields, model: type | None = None) -> Any:
    """The object that fields describe; of none, something that is no annotation."""
    if not fields:
        return lib.cvataa.keypoint(HEAD, [5, 6])
    models = lib.models
    if model is None:
        model = models.LabeledShapeRequest if "type" in fields else models.LabeledImageRequest
    parts: Fields = {}
    if "attributes" in fields:
        parts["attributes"] = [
            models.AttributeValRequest(spec_id=number, value=value) for number, value in fields["attributes"]
        ]
    if "elements" in fields:
        parts["elements"] = [made(lib, each, models.SubLabeledShapeRequest) for each in fields["elements"]]
    return model(**(fields | parts))


@pytest.fixture(scope="module")
def task_id(new_task) -> int:
    return new_task(task_labels(), {"0.png": picture()})


@pytest.fixture(scope="module")
def message_of(annotate, our_client, task_id) -> Callable[..., str]:
    """The error of a library for output; empty if it finds none. The task is empty afterwards."""

    def message_of(pairing: Pairing, output: list[Fields], **options: Any) -> str:
        lib = pairing.written
        function = a_function(
            lib.cvataa.DetectionFunctionSpec(labels=function_labels(lib)),
            lambda context, image: [made(lib, fields) for fields in output],
        )
        try:
            annotate(pairing.run, task_id, function, allow_unmatched_labels=True, **options)
        except pairing.run.error as error:
            return str(error)
        except cvat_sdk.exceptions.ApiException:
            return ""  # the SDK has sent numbers that the server refuses
        [job] = our_client.jobs(task_id)
        everything = our_client.job_annotations(job.id)
        our_client.delete_job_annotations(job.id, {"tags": everything.tags, "shapes": everything.shapes})
        return ""

    return message_of


ONLY_OURS = "numbers in its points|not finite|skeleton without elements"


@pytest.fixture(scope="module")
def assert_alike(message_of) -> Callable[..., None]:
    """Our errors equal those of the SDK; if it has none, we report only our own checks."""

    def assert_alike(output: list[Fields], **options: Any) -> str:
        sdk = message_of(BY_SDK, output, **options)
        for pairing in (SDK_BY_US, BY_US):
            ours = message_of(pairing, output, **options)
            if sdk:
                assert_says_what_the_sdk_says(sdk, ours)
            else:
                assert not ours or re.search(ONLY_OURS, ours)
        return sdk

    return assert_alike


@settings(max_examples=150, deadline=None)
@given(output=outputs, conv_mask_to_poly=st.booleans())
def test_output_with_several_errors_gets_the_error_of_the_sdk(assert_alike, output, conv_mask_to_poly):
    assert_alike(output, conv_mask_to_poly=conv_mask_to_poly)


def drawn(shape_type: str, label_id: int, **fields: Any) -> Fields:
    return {"type": shape_type, "label_id": label_id, "frame": 0, "points": POINTS[shape_type]} | fields


SEVERAL: dict[str, tuple[list[Fields], str]] = {
    "the type of the task's label before elements": (
        [drawn("polygon", THING, elements=[keypoint(HEAD)])],
        "shape of type 'polygon' (expected 'rectangle')",
    ),
    "the type of the task's label before points": (
        [drawn("polygon", THING, points=[1.0])],
        "shape of type 'polygon' (expected 'rectangle')",
    ),
    "the type of the task's label before the next shape": (
        [drawn("polygon", THING), drawn("rectangle", CAR, id=5)],
        "shape of type 'polygon' (expected 'rectangle')",
    ),
    "a keypoint that is missing before the next shape": (
        [drawn("skeleton", BODY, elements=WHOLE[:1]), drawn("rectangle", CAR, id=5)],
        "fewer elements than expected (1 vs 2)",
    ),
    "a keypoint that is missing before points": (
        [drawn("skeleton", BODY, elements=[keypoint(HEAD, points=[1.0])])],
        "fewer elements than expected (1 vs 2)",
    ),
    "the next shape before points": (
        [drawn("rectangle", CAR, points=[1.0]), drawn("rectangle", CAR, id=5)],
        "shape with preset id",
    ),
    "a tag before the next shape": (
        [{"label_id": THING, "frame": 0}, drawn("rectangle", CAR, id=5)],
        "tag (expected shape of type 'rectangle')",
    ),
    "the id of what the task has no label for": ([drawn("polygon", BOAT, id=5)], "shape with preset id"),
    "nothing else of what the task has no label for": (
        [drawn("polygon", BOAT, attributes=[(UNKNOWN, "4")], elements=[keypoint(HEAD)], points=[1.0])],
        "",
    ),
    "nothing of an attribute that the task does not have": (
        [drawn("rectangle", CAR, attributes=[(AGE, "old"), (AGE, "old")])],
        "",
    ),
    "nothing else of a keypoint that the task does not have": (
        [drawn("skeleton", BODY, elements=[*WHOLE, keypoint(TAIL, points=[1.0], attributes=[(DOORS, "8")])])],
        "",
    ),
}


@pytest.mark.parametrize(("output", "sdk"), SEVERAL.values(), ids=SEVERAL)
def test_order_of_checks(assert_alike, message_of, output, sdk):
    said = assert_alike(output)
    assert sdk in said if sdk else said == message_of(BY_US, output) == ""
