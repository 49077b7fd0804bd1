"""Both libraries refuse labels of a function that do not fit those of the task."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

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
from compatibility.outputs import (
    MASK,
    POLYGON,
    spec,
    value,
)
from pictures import picture

TYPES = ("any", "rectangle", "polygon", "mask", "tag")


@pytest.fixture(scope="module")
def task_of_type(new_task) -> Callable[[str], int]:
    made: dict[str, int] = {}

    def task_of_type(label_type: str) -> int:
        if label_type not in made:
            label = OURS.cvataa.label_spec("x", None, type=label_type)
            made[label_type] = new_task([label], {"0.png": picture()})
        return made[label_type]

    return task_of_type


@pytest.mark.parametrize("conv_mask_to_poly", [False, True], ids=["", "conv_mask_to_poly"])
@pytest.mark.parametrize("task_type", TYPES)
@pytest.mark.parametrize("function_type", TYPES)
def test_label_types_are_compatible_in_the_same_cases(
    annotate, task_of_type, function_type, task_type, conv_mask_to_poly
):
    """The spec and each type of annotation are treated alike by both libraries."""

    def outcome(pairing: Pairing, annotation: Callable[[Library], list[Any]]) -> bool:
        label = pairing.written.cvataa.label_spec("x", 1, type=function_type)
        spec = pairing.written.cvataa.DetectionFunctionSpec(labels=[label])
        function = a_function(spec, lambda context, image: annotation(pairing.written))
        try:
            annotate(pairing.run, task_of_type(task_type), function, conv_mask_to_poly=conv_mask_to_poly)
        except pairing.run.error:
            return False
        return True

    makers: dict[str, Callable[[Library], list[Any]]] = {
        "nothing": lambda lib: [],
        "rectangle": lambda lib: [lib.cvataa.rectangle(1, [1, 2, 3, 4])],
        "polygon": lambda lib: [lib.cvataa.polygon(1, POLYGON)],
        "mask": lambda lib: [lib.cvataa.mask(1, MASK)],
        "tag": lambda lib: [lib.cvataa.tag(1)],
    }
    sdk, ours = (
        {name: outcome(pairing, maker) for name, maker in makers.items()} for pairing in (BY_SDK, BY_US)
    )
    assert ours == sdk
    wanted = "polygon" if conv_mask_to_poly and function_type == "mask" else function_type
    assert ours["nothing"] == (wanted == "any" or task_type in ("any", wanted))


@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize("function_type", ["any", "mask"])
@pytest.mark.parametrize("task_type", ["any", "polygon"])
def test_mask_is_refused_if_polygons_are_requested(annotate, task_of_type, pairing, function_type, task_type):
    cvataa = pairing.written.cvataa
    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("x", 1, type=function_type)])
    function = a_function(spec, lambda context, image: [cvataa.mask(1, MASK)])
    with pytest.raises(
        pairing.run.error,
        match=r"function output (mask shape despite conv_mask_to_poly=True|shape of type 'mask' .*'polygon')",
    ):
        annotate(pairing.run, task_of_type(task_type), function, conv_mask_to_poly=True)


@pytest.mark.parametrize("task_type", ["rectangle", "mask", "tag"])
def test_type_errors_contain_the_message_of_the_sdk(annotate, task_of_type, task_type):
    """The label of the function is of any type; that of the task is not."""
    makers: list[Callable[[Library], Any]] = [
        lambda lib: lib.cvataa.polygon(1, POLYGON),
        lambda lib: lib.cvataa.tag(1),
    ]
    for maker in makers[: 1 if task_type == "tag" else 2]:
        messages = []
        for pairing in (BY_SDK, SDK_BY_US, BY_US):
            lib = pairing.written
            spec = lib.cvataa.DetectionFunctionSpec(labels=[lib.cvataa.label_spec("x", 1)])
            function = a_function(spec, lambda context, image, lib=lib, maker=maker: [maker(lib)])
            with pytest.raises(pairing.run.error) as error:
                annotate(pairing.run, task_of_type(task_type), function)
            messages.append(str(error.value))
        for message in messages[1:]:
            assert_says_what_the_sdk_says(messages[0], message)


MISMATCHES: dict[str, tuple[Callable[[Library], list[Any]], str]] = {
    "label": (lambda lib: [lib.cvataa.label_spec("boat", 1)], "label 'boat' is not in"),
    "label in capitals": (lambda lib: [lib.cvataa.label_spec("Car", 1)], "label 'Car' is not in"),
    "sublabel": (
        lambda lib: [lib.cvataa.skeleton_label_spec("body", 1, [lib.cvataa.keypoint_spec("foot", 1)])],
        "sublabel 'foot' of label 'body' is not in",
    ),
    "attribute": (
        lambda lib: [lib.cvataa.label_spec("car", 1, attributes=[lib.cvataa.text_attribute_spec("age", 1)])],
        "attribute 'age' of label 'car' is not in",
    ),
    "input type": (
        lambda lib: [
            lib.cvataa.label_spec("car", 1, attributes=[lib.cvataa.text_attribute_spec("doors", 1)])
        ],
        "attribute 'doors' of label 'car' has input type .*text.* in the function, but .*number",
    ),
    "number's values": (
        lambda lib: [
            lib.cvataa.label_spec(
                "car", 1, attributes=[lib.cvataa.number_attribute_spec("doors", 1, ["0", "4", "2"])]
            )
        ],
        "attribute 'doors' of label 'car' has .*values .* in the function, but",
    ),
    "select's values": (
        lambda lib: [
            lib.cvataa.label_spec(
                "car", 1, attributes=[lib.cvataa.select_attribute_spec("colour", 1, ["red"])]
            )
        ],
        "attribute 'colour' of label 'car' has .*values .* in the function, but",
    ),
    "attribute of a sublabel": (
        lambda lib: [
            lib.cvataa.skeleton_label_spec(
                "body",
                1,
                [lib.cvataa.keypoint_spec("head", 1, attributes=[lib.cvataa.text_attribute_spec("hat", 1)])],
            )
        ],
        "attribute 'hat' of sublabel 'head' of label 'body' has input type",
    ),
}


@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize(("bad", "message"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_spec_that_does_not_fit_the_task_is_refused(annotate, task_id, pairing, bad, message):
    spec = pairing.written.cvataa.DetectionFunctionSpec(labels=bad(pairing.written))
    function = a_function(spec, lambda context, image: pytest.fail("it ran"))
    with pytest.raises(pairing.run.error, match=message):
        annotate(pairing.run, task_id, function)


def a_car(lib: Library, *attributes: Any, **fields: Any) -> Any:
    return lib.cvataa.label_spec("car", 1, attributes=list(attributes), **fields)


SEVERAL_MISMATCHES: dict[str, Callable[[Library], list[Any]]] = {
    "types": lambda lib: [a_car(lib, type="polygon")],
    "an attribute before the type": lambda lib: [
        a_car(lib, lib.cvataa.text_attribute_spec("age", 1), type="polygon")
    ],
    "an input type before an attribute that is not there": lambda lib: [
        a_car(lib, lib.cvataa.text_attribute_spec("doors", 1), lib.cvataa.text_attribute_spec("age", 2))
    ],
    "a label before the type of the next": lambda lib: [
        lib.cvataa.label_spec("boat", 2),
        a_car(lib, type="polygon"),
    ],
    "the type before the next label": lambda lib: [
        a_car(lib, type="polygon"),
        lib.cvataa.label_spec("boat", 2),
    ],
    "sublabels before the type": lambda lib: [
        lib.cvataa.skeleton_label_spec("car", 1, [lib.cvataa.keypoint_spec("wheel", 1)])
    ],
    "sublabels of a label that has none": lambda lib: [
        lib.cvataa.skeleton_label_spec("thing", 1, [lib.cvataa.keypoint_spec("wheel", 1)])
    ],
    "attributes before sublabels": lambda lib: [
        lib.cvataa.skeleton_label_spec(
            "body",
            1,
            [lib.cvataa.keypoint_spec("foot", 1)],
            attributes=[lib.cvataa.text_attribute_spec("age", 1)],
        )
    ],
}


@pytest.mark.parametrize("allow_unmatched_labels", [False, True], ids=["", "allow_unmatched_labels"])
@pytest.mark.parametrize(
    "bad",
    [bad for bad, _ in MISMATCHES.values()] + list(SEVERAL_MISMATCHES.values()),
    ids=[*MISMATCHES, *SEVERAL_MISMATCHES],
)
@pytest.mark.usefixtures("emptied")
def test_label_errors_contain_the_message_of_the_sdk(annotate, task_id, bad, allow_unmatched_labels):
    """And where the SDK has nothing to say, we have nothing either, but of keypoints that are missing."""
    messages = []
    for pairing in (BY_SDK, SDK_BY_US, BY_US):
        spec = pairing.written.cvataa.DetectionFunctionSpec(labels=bad(pairing.written))
        try:
            annotate(
                pairing.run,
                task_id,
                a_function(spec, lambda context, image: []),
                allow_unmatched_labels=allow_unmatched_labels,
            )
            messages.append("")
        except pairing.run.error as error:
            messages.append(str(error))
    sdk, *ours = messages
    for message in ours:
        if sdk:
            assert_says_what_the_sdk_says(sdk, message)
        else:
            assert not message or "skeleton with fewer elements than expected" in message


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
def test_the_order_of_select_values_does_not_matter(annotate, read, task_id, pairing):
    lib = pairing.written
    attribute = lib.cvataa.select_attribute_spec("colour", 1, ["blue", "red"])
    spec = lib.cvataa.DetectionFunctionSpec(labels=[lib.cvataa.label_spec("car", 1, attributes=[attribute])])
    shape = lib.cvataa.rectangle
    annotate(
        pairing.run,
        task_id,
        a_function(spec, lambda c, i: [shape(1, [1, 2, 3, 4], attributes=[value(lib, 1, "red")])]),
    )
    [found] = read(task_id)
    assert ("colour", "red") in found["attributes"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
@pytest.mark.parametrize("pairing", [BY_SDK, BY_US], ids=str)
def test_invalid_threshold_is_refused(annotate, task_id, pairing, threshold):
    function = SimpleNamespace(spec=spec(pairing.written), detect=lambda context, image: [])
    with pytest.raises(ValueError, match="conf_threshold must be None or a number between 0 and 1"):
        annotate(pairing.run, task_id, function, conf_threshold=threshold)
