"""Invalid specs are refused by both libraries, with the message of the SDK."""

from collections.abc import Callable
from typing import Any

import pytest

from compatibility.libraries import OURS, SDK, Library, assert_says_what_the_sdk_says, in_both


def labels(lib: Library, **changes: Any) -> list[Any]:
    """The labels of a valid spec; `changes` replace arguments of the object named before the dot."""
    cvataa = lib.cvataa
    number = {"values": lib.attributes.number_attribute_values(0, 10, 5)} | changes.get("number", {})
    attributes = [
        cvataa.number_attribute_spec("doors", 1, **number),
        cvataa.select_attribute_spec("colour", 2, ["red", "blue"]),
        *changes.get("attributes", []),
    ]
    keypoints = [
        cvataa.keypoint_spec("head", 1, attributes=[cvataa.checkbox_attribute_spec("hat", 1)]),
        cvataa.keypoint_spec("hand", 2),
        *changes.get("keypoints", []),
    ]
    return [
        cvataa.label_spec("car", 1, type="rectangle", attributes=attributes),
        cvataa.skeleton_label_spec("body", 2, keypoints),
        *changes.get("labels", []),
    ]


@in_both
def test_valid_spec_is_accepted(lib: Library):
    spec = lib.cvataa.DetectionFunctionSpec(labels=labels(lib))
    assert [label.name for label in spec.labels] == ["car", "body"]
    with pytest.raises(AttributeError):
        spec.labels = []


def with_keypoint_attributes(lib: Library, *attributes: Any) -> list[Any]:
    return labels(lib, keypoints=[lib.cvataa.keypoint_spec("foot", 3, attributes=list(attributes))])


BAD_SPECS: dict[str, tuple[Callable[[Library], list[Any]], str]] = {
    "label without id": (
        lambda lib: labels(lib, labels=[lib.models.PatchedLabelRequest(name="bus")]),
        "label 'bus' has no ID",
    ),
    "label id twice": (
        lambda lib: labels(lib, labels=[lib.cvataa.label_spec("bus", 1)]),
        r"label '?bus'? has .*same ID as another.*\(1\)",
    ),
    "sublabel without id": (
        lambda lib: labels(lib, keypoints=[lib.models.SublabelRequest(name="foot", type="points")]),
        "sublabel 'foot' of label 'body' has no ID",
    ),
    "sublabel id twice": (
        lambda lib: labels(lib, keypoints=[lib.cvataa.keypoint_spec("foot", 2)]),
        r"sublabel 'foot' of label 'body' has .*same ID as another.*\(2\)",
    ),
    "sublabel of another type": (
        lambda lib: labels(lib, keypoints=[lib.models.SublabelRequest(name="foot", id=3, type="rectangle")]),
        r"sublabel 'foot' of label 'body' has type 'rectangle' \(should be 'points'\)",
    ),
    "sublabels of a rectangle": (
        lambda lib: labels(
            lib,
            labels=[
                lib.cvataa.label_spec(
                    "bus", 3, type="rectangle", sublabels=[lib.cvataa.keypoint_spec("wheel", 1)]
                )
            ],
        ),
        r"label 'bus' with sublabels has type 'rectangle' \(should be 'skeleton'\)",
    ),
    "sublabels of a label without type": (
        lambda lib: labels(
            lib,
            labels=[lib.cvataa.label_spec("bus", 3, sublabels=[lib.cvataa.keypoint_spec("wheel", 1)])],
        ),
        r"label 'bus' with sublabels has type 'any' \(should be 'skeleton'\)",
    ),
    "attribute without id": (
        lambda lib: labels(
            lib,
            attributes=[
                lib.models.AttributeRequest(name="plate", mutable=False, input_type="text", values=[])
            ],
        ),
        "attribute 'plate' of label 'car' has no ID",
    ),
    "attribute id twice": (
        lambda lib: labels(lib, attributes=[lib.cvataa.text_attribute_spec("plate", 1)]),
        r"attribute 'plate' of label 'car' has .*same ID as another.*\(1\)",
    ),
    "attribute of a sublabel without id": (
        lambda lib: with_keypoint_attributes(
            lib, lib.models.AttributeRequest(name="shoe", mutable=False, input_type="checkbox", values=[])
        ),
        "attribute 'shoe' of sublabel 'foot' of label 'body' has no ID",
    ),
    "attribute id of a sublabel twice": (
        lambda lib: with_keypoint_attributes(
            lib,
            lib.cvataa.checkbox_attribute_spec("shoe", 1),
            lib.cvataa.checkbox_attribute_spec("sock", 1),
        ),
        r"attribute 'sock' of sublabel 'foot' of label 'body' has .*same ID as another.*\(1\)",
    ),
    "values of a sublabel's attribute": (
        lambda lib: with_keypoint_attributes(lib, lib.cvataa.radio_attribute_spec("side", 1, [])),
        "attribute 'side' of sublabel 'foot' of label 'body' has invalid values: empty",
    ),
    "nothing to select": (
        lambda lib: labels(lib, attributes=[lib.cvataa.select_attribute_spec("make", 3, [])]),
        "attribute 'make' of label 'car' has invalid values: empty",
    ),
    "two values of a number": (
        lambda lib: labels(lib, number={"values": ["0", "10"]}),
        "attribute 'doors' of label 'car' has invalid values: wrong number.* 3.* 2",
    ),
    "words for a number": (
        lambda lib: labels(lib, number={"values": ["few", "many", "1"]}),
        "'doors' of label 'car' has invalid values: .*could not be converted to integers",
    ),
    "fractions of a number": (
        lambda lib: labels(lib, number={"values": ["0", "1", "0.5"]}),
        "'doors' of label 'car' has invalid values: .*could not be converted to integers",
    ),
    "number from high to low": (
        lambda lib: labels(lib, number={"values": ["10", "0", "1"]}),
        "'doors' of label 'car' has invalid values: .*min_value",
    ),
    "number with a step of 0": (
        lambda lib: labels(lib, number={"values": ["0", "10", "0"]}),
        "'doors' of label 'car' has invalid values: .*step must be positive",
    ),
    "number with a step that does not fit": (
        lambda lib: labels(lib, number={"values": ["0", "10", "3"]}),
        "'doors' of label 'car' has invalid values: .*step.*must be a divisor",
    ),
}


@in_both
@pytest.mark.parametrize(("bad", "message"), BAD_SPECS.values(), ids=BAD_SPECS)
def test_invalid_spec_is_refused(lib: Library, bad, message):
    wrong = bad(lib)
    with pytest.raises(lib.error, match=message):
        lib.cvataa.DetectionFunctionSpec(labels=wrong)


@pytest.mark.parametrize(("bad", "message"), BAD_SPECS.values(), ids=BAD_SPECS)
def test_spec_validates_labels_of_the_sdk(bad, message):
    assert OURS.cvataa.DetectionFunctionSpec(labels=labels(SDK)).labels
    with pytest.raises(OURS.error, match=message):
        OURS.cvataa.DetectionFunctionSpec(labels=bad(SDK))


def refusal(lib: Library, bad_labels: list[Any]) -> str:
    with pytest.raises(lib.error) as error:
        lib.cvataa.DetectionFunctionSpec(labels=bad_labels)
    return str(error.value)


SEVERAL_FAULTS: dict[str, Callable[[Library], list[Any]]] = {
    "an attribute before the id of the next label": lambda lib: labels(
        lib,
        attributes=[lib.cvataa.text_attribute_spec("plate", 1)],
        labels=[lib.models.PatchedLabelRequest(name="bus")],
    ),
    "values before the id of the next attribute": lambda lib: labels(
        lib, number={"values": ["0"]}, attributes=[lib.cvataa.text_attribute_spec("plate", 1)]
    ),
    "an id before attributes": lambda lib: labels(
        lib,
        labels=[lib.cvataa.label_spec("bus", 1, attributes=[lib.cvataa.radio_attribute_spec("side", 1, [])])],
    ),
    "attributes before sublabels": lambda lib: labels(
        lib,
        labels=[
            lib.cvataa.label_spec(
                "bus",
                3,
                type="rectangle",
                attributes=[lib.cvataa.radio_attribute_spec("side", 1, [])],
                sublabels=[lib.cvataa.keypoint_spec("wheel", 1)],
            )
        ],
    ),
    "the id of a sublabel before its type": lambda lib: labels(
        lib, keypoints=[lib.models.SublabelRequest(name="foot", id=2, type="rectangle")]
    ),
    "a sublabel before the id of the next": lambda lib: labels(
        lib,
        keypoints=[
            lib.models.SublabelRequest(name="foot", id=3, type="rectangle"),
            lib.cvataa.keypoint_spec("toe", 3),
        ],
    ),
}


@pytest.mark.parametrize("written", [SDK, OURS], ids=lambda lib: lib.name)
@pytest.mark.parametrize(
    "bad",
    [bad for bad, _ in BAD_SPECS.values()] + list(SEVERAL_FAULTS.values()),
    ids=[*BAD_SPECS, *SEVERAL_FAULTS],
)
def test_spec_errors_contain_the_message_of_the_sdk(written: Library, bad):
    # the SDK leaves the quotes out in one of its messages
    sdk = refusal(SDK, bad(SDK)).replace("label bus has", "label 'bus' has")
    assert_says_what_the_sdk_says(sdk, refusal(OURS, bad(written)))


@in_both
def test_ids_are_scoped_to_their_owner(lib: Library):
    cvataa = lib.cvataa
    attribute = cvataa.text_attribute_spec("note", 1)
    keypoint = cvataa.keypoint_spec("head", 1, attributes=[attribute])
    spec = cvataa.DetectionFunctionSpec(
        labels=[
            cvataa.skeleton_label_spec("a", 1, [keypoint], attributes=[attribute]),
            cvataa.skeleton_label_spec("b", 2, [keypoint], attributes=[attribute]),
        ]
    )
    assert len(spec.labels) == 2


# --- attributes ---

VALUES = {
    "checkbox": ([], ["true", "false"], ["True", "", "1", "yes"]),
    "number": (["-4", "6", "2"], ["-4", "0", "6", "+2"], ["-3", "8", "-6", "1.0", "", "two"]),
    "select": (["a", "b c"], ["a", "b c"], ["", "A", "b", "c"]),
    "radio": (["a", "b c"], ["a", "b c"], ["", "A", "b", "c"]),
    "text": ([], ["", "anything", "ß\n"], []),
}


@in_both
@pytest.mark.parametrize("input_type", VALUES)
def test_valid_attribute_values(lib: Library, input_type):
    values, good, bad = VALUES[input_type]
    fits = lib.attributes.attribute_value_validator(lib.cvataa.attribute_spec("a", 1, input_type, values))
    assert [value for value in good + bad if fits(value)] == good


@in_both
@pytest.mark.parametrize("arguments", [(3, 2), (0, 10, 0), (0, 10, -1), (0, 10, 3)], ids=str)
def test_invalid_number_values(lib: Library, arguments):
    with pytest.raises(ValueError, match=r"min_value|step"):
        lib.attributes.number_attribute_values(*arguments)


@in_both
def test_number_values(lib: Library):
    assert lib.attributes.number_attribute_values(-4, 6, step=2) == ["-4", "6", "2"]
    assert lib.attributes.number_attribute_values(1, 1) == ["1", "1", "1"]


@in_both
def test_attribute_values_from_a_dict(lib: Library):
    values = lib.attributes.attribute_vals_from_dict({1: True, 2: False, 3: 0, 4: 1, 5: "x", 6: -7})
    assert [(value.spec_id, value.value) for value in values] == [
        *((1, "true"), (2, "false"), (3, "0")),
        *((4, "1"), (5, "x"), (6, "-7")),
    ]
    with pytest.raises((TypeError, AssertionError)):
        lib.attributes.attribute_vals_from_dict({1: 0.5})


# --- the other kinds of functions ---


@in_both
@pytest.mark.parametrize(
    "fields",
    [
        {"min_pos_points": -1},
        {"min_pos_points": 1, "min_neg_points": -1},
        {"min_pos_points": 1, "min_bounding_boxes": 2},
        {"min_neg_points": 1},
        {"min_pos_points": None},
    ],
    ids=str,
)
def test_invalid_interaction_spec_is_refused(lib: Library, fields):
    with pytest.raises((ValueError, TypeError)):
        lib.cvataa.InteractionFunctionSpec(**fields)


@in_both
def test_valid_interaction_spec_is_accepted(lib: Library):
    spec = lib.cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=2, min_bounding_boxes=1)
    assert (spec.min_pos_points, spec.min_neg_points, spec.min_bounding_boxes) == (0, 2, 1)
    with pytest.raises(AttributeError):
        spec.min_pos_points = 1


@in_both
def test_interaction_results_have_only_their_own_attributes(lib: Library):
    def result(spec_id: int) -> Any:
        return lib.cvataa.InteractionResultShape(
            type="mask",
            points=(0, 1, 2, 3, 4),
            attributes=[lib.models.AttributeValRequest(spec_id=spec_id, value="0.5")],
        )

    confidence = lib.cvataa.InteractionResultAttributes.CONFIDENCE
    assert confidence == 0
    assert result(confidence).points == [0, 1, 2, 3, 4]
    with pytest.raises(lib.error, match="7 is not one of InteractionResultAttributes"):
        result(7)


@in_both
def test_tracking_spec_validates_shape_types(lib: Library):
    spec = lib.cvataa.TrackingFunctionSpec(supported_shape_types=["rectangle", "mask", "mask"])
    assert spec.supported_shape_types == {"rectangle", "mask"}
    with pytest.raises(ValueError, match="circle"):
        lib.cvataa.TrackingFunctionSpec(supported_shape_types={"circle"})
    assert lib.cvataa.TrackableShape(type="mask", points=(1, 2)).points == [1, 2]
