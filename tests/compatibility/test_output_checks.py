"""Both libraries refuse invalid output, and store nothing of it on the server.

What is written with the SDK is run by both; what is written with ours, by us.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from compatibility.libraries import (
    BY_SDK,
    BY_US,
    OURS,
    SDK_BY_US,
    Library,
    assert_says_what_the_sdk_says,
)
from compatibility.outputs import (
    AREA,
    BLOB,
    BODY,
    CAR,
    COLOUR,
    DOORS,
    HAND,
    HAT,
    MASK,
    PARKED,
    POLYGON,
    SCENE,
    SIDE,
    THING,
    body,
    car,
    element,
    good,
    head,
    value,
)


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
def test_valid_output_is_accepted(run, read, task_id, pairing):
    run(pairing, good)
    found = read(task_id)
    assert [item["label"] for item in found if item["kind"] == "tag"] == ["scene", "thing"]
    assert sorted(item["label"] for item in found if item["kind"] == "shape") == [
        *("area", "blob", "body", "car", "thing")
    ]


BAD_OUTPUT: dict[str, tuple[Callable[[Library], Any], str]] = {
    "shape with id": (lambda lib: car(lib, id=5), "shape with preset id"),
    "shape with source": (lambda lib: car(lib, source="manual"), "shape with preset source"),
    "shape on another frame": (
        lambda lib: lib.models.LabeledShapeRequest(
            type="rectangle", label_id=CAR, frame=1, points=[1, 2, 3, 4]
        ),
        r"shape with unexpected frame number \(1\)",
    ),
    "tag with id": (lambda lib: lib.cvataa.tag(SCENE, id=5), "tag with preset id"),
    "tag with source": (lambda lib: lib.cvataa.tag(SCENE, source="auto"), "tag with preset source"),
    "tag on another frame": (
        lambda lib: lib.models.LabeledImageRequest(label_id=SCENE, frame=2),
        r"tag with unexpected frame number \(2\)",
    ),
    "shape of an unknown label": (
        lambda lib: lib.cvataa.rectangle(99, [1, 2, 3, 4]),
        r"shape with unknown label ID \(99\)",
    ),
    "tag of an unknown label": (lambda lib: lib.cvataa.tag(99), r"tag with unknown label ID \(99\)"),
    "wrong type for the label": (
        lambda lib: lib.cvataa.polygon(CAR, POLYGON),
        r"shape of type 'polygon' \(expected 'rectangle'\)",
    ),
    "mask for a polygon": (
        lambda lib: lib.cvataa.mask(AREA, MASK),
        r"shape of type 'mask' \(expected 'polygon'\)",
    ),
    "shape for a tag": (
        lambda lib: lib.cvataa.rectangle(SCENE, [1, 2, 3, 4]),
        r"shape of type 'rectangle' \(expected 'tag'\)",
    ),
    "rectangle for a skeleton": (
        lambda lib: lib.cvataa.rectangle(BODY, [1, 2, 3, 4]),
        r"shape of type 'rectangle' \(expected 'skeleton'\)",
    ),
    "tag for a rectangle": (lambda lib: lib.cvataa.tag(CAR), "tag .*'rectangle'"),
    "elements of a rectangle": (
        lambda lib: car(lib, elements=[head(lib)]),
        "non-skeleton shape with elements",
    ),
    "element with id": (lambda lib: body(lib, head=head(lib, id=3)), "element with preset id"),
    "element with source": (
        lambda lib: body(lib, head=head(lib, source="auto")),
        "element with preset source",
    ),
    "element on another frame": (
        lambda lib: body(lib, head=element(lib, frame=1)),
        r"element with unexpected frame number \(1\)",
    ),
    "element that is a rectangle": (
        lambda lib: body(lib, head=element(lib, type="rectangle", points=[1, 2, 3, 4])),
        r"element type other than 'points' \(rectangle\)",
    ),
    "element of an unknown sublabel": (
        lambda lib: body(lib, head=element(lib, label_id=99)),
        r"unknown sublabel ID \(99\)",
    ),
    "keypoint twice": (
        lambda lib: body(lib, head(lib)),
        "skeleton with multiple elements with same sublabel",
    ),
    "keypoint missing": (
        lambda lib: body(lib, hand=False),
        r"skeleton with fewer elements than .*\(1 vs 2\)",
    ),
    "no keypoint": (
        lambda lib: lib.cvataa.skeleton(BODY, []),
        r"skeleton with fewer elements than expected \(0 vs 2\)",
    ),
    "attribute of a shape unknown": (
        lambda lib: car(lib, attributes=[value(lib, 99, "4")]),
        r"attribute with unknown ID \(99\)",
    ),
    "attribute of another label": (
        lambda lib: lib.cvataa.polygon(AREA, POLYGON, attributes=[value(lib, DOORS, "4")]),
        r"attribute with unknown ID \(31\)",
    ),
    "attribute of a tag unknown": (
        lambda lib: lib.cvataa.tag(SCENE, attributes=[value(lib, 99, "4")]),
        r"attribute with unknown ID \(99\)",
    ),
    "attribute of an element unknown": (
        lambda lib: body(lib, head=head(lib, attributes=[value(lib, DOORS, "4")])),
        r"attribute with unknown ID \(31\)",
    ),
    "attribute twice": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "4"), value(lib, DOORS, "2")]),
        "multiple attributes with same ID",
    ),
    "attribute of an element twice": (
        lambda lib: body(lib, head=head(lib, attributes=[value(lib, HAT, "true"), value(lib, HAT, "true")])),
        "multiple attributes with same ID",
    ),
    "number too large": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "8")]),
        r"attribute value \('8'\) that is unsuitable for its attribute \(31\)",
    ),
    "number between the steps": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "3")]),
        r"attribute value \('3'\) that is unsuitable",
    ),
    "number with a fraction": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "2.0")]),
        r"attribute value \('2.0'\) that is unsuitable",
    ),
    "selected what is not there": (
        lambda lib: car(lib, attributes=[value(lib, COLOUR, "green")]),
        r"attribute value \('green'\) that is unsuitable for its attribute \(32\)",
    ),
    "radio button that is not there": (
        lambda lib: car(lib, attributes=[value(lib, SIDE, "")]),
        r"attribute value \(''\) that is unsuitable",
    ),
    "checkbox in Python's words": (
        lambda lib: car(lib, attributes=[value(lib, PARKED, "True")]),
        r"attribute value \('True'\) that is unsuitable",
    ),
    "checkbox of an element": (
        lambda lib: body(lib, head=head(lib, attributes=[value(lib, HAT, "maybe")])),
        r"attribute value \('maybe'\) that is unsuitable for its attribute \(36\)",
    ),
    "a dict": (lambda lib: {"label_id": CAR}, "object of type 'dict' .*'LabeledImageRequest' or"),
    "a keypoint alone": (head, "object of type 'SubLabeledShapeRequest' .*'LabeledImageRequest' or"),
}


@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize(("bad", "message"), BAD_OUTPUT.values(), ids=BAD_OUTPUT)
def test_invalid_output_is_refused(run, pairing, bad, message):
    with pytest.raises(pairing.run.error, match=f"function output .*{message}"):
        run(pairing, lambda lib: [*good(lib), bad(lib)])


CAR_FAULTS: dict[str, Callable[[Library], dict[str, Any]]] = {
    "preset id": lambda lib: {"id": 3},
    "preset source": lambda lib: {"source": "auto"},
    "another frame": lambda lib: {"frame": 1},
    "unknown label": lambda lib: {"label_id": 99},
    "unknown attribute": lambda lib: {"attributes": [value(lib, 99, "4")]},
    "attribute twice": lambda lib: {"attributes": [value(lib, DOORS, "4"), value(lib, DOORS, "2")]},
    "unsuitable value": lambda lib: {"attributes": [value(lib, DOORS, "8")]},
    "another type": lambda lib: {"type": "polygon", "points": POLYGON},
    "elements": lambda lib: {"elements": [head(lib)]},
}

HEAD_FAULTS: dict[str, Callable[[Library], dict[str, Any]]] = {
    "preset id": lambda lib: {"id": 3},
    "preset source": lambda lib: {"source": "auto"},
    "another frame": lambda lib: {"frame": 1},
    "another type": lambda lib: {"type": "rectangle", "points": [1, 2, 3, 4]},
    "unknown sublabel": lambda lib: {"label_id": 99},
    "sublabel twice": lambda lib: {"label_id": HAND},
    "unknown attribute": lambda lib: {"attributes": [value(lib, 99, "4")]},
    "unsuitable value": lambda lib: {"attributes": [value(lib, HAT, "8")]},
}


def two_faults(makers: dict[str, Callable[[Library], dict[str, Any]]]) -> list[Any]:
    """All pairs of faults that one thing can have at a time."""
    return [
        pytest.param(makers[one], makers[other], id=f"{one} and {other}")
        for one, other in combinations(makers, 2)
        if makers[one](OURS).keys().isdisjoint(makers[other](OURS))
    ]


@pytest.fixture
def assert_alike(run) -> Callable[..., None]:
    """Both libraries refuse what this returns, and our message contains that of the SDK."""

    def assert_alike(output: Callable[[Library], Any], **options: Any) -> None:
        messages = []
        for pairing in (BY_SDK, SDK_BY_US, BY_US):
            with pytest.raises(pairing.run.error) as error:
                run(pairing, output, **options)
            messages.append(str(error.value))
        sdk, *ours = messages
        for message in ours:
            assert_says_what_the_sdk_says(sdk, message)

    return assert_alike


@pytest.mark.parametrize("bad", [bad for bad, _ in BAD_OUTPUT.values()], ids=BAD_OUTPUT)
def test_output_errors_contain_the_message_of_the_sdk(assert_alike, bad):
    assert_alike(lambda lib: [bad(lib)])


@pytest.mark.parametrize(("one", "other"), two_faults(CAR_FAULTS))
def test_shape_with_two_errors_gets_the_error_of_the_sdk(assert_alike, one, other):
    good_one = {"type": "rectangle", "label_id": CAR, "frame": 0, "points": [1, 2, 30, 40]}
    assert_alike(lambda lib: [lib.models.LabeledShapeRequest(**(good_one | one(lib) | other(lib)))])


@pytest.mark.parametrize(("one", "other"), two_faults(HEAD_FAULTS))
def test_keypoint_with_two_errors_gets_the_error_of_the_sdk(assert_alike, one, other):
    def output(lib: Library) -> list[Any]:
        hand = lib.cvataa.keypoint(HAND, [7, 8])
        return [lib.cvataa.skeleton(BODY, [hand, element(lib, **(one(lib) | other(lib)))])]

    assert_alike(output)


def test_mask_instead_of_polygon_gets_the_error_of_the_sdk(assert_alike):
    for label in (BLOB, THING):
        assert_alike(lambda lib, of=label: [lib.cvataa.mask(of, MASK)], conv_mask_to_poly=True)
