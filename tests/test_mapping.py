import pytest

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    keypoint_spec,
    label_spec,
    select_attribute_spec,
    skeleton_label_spec,
    text_attribute_spec,
)
from prefect_cvat.mapping import LabelMapEntry, build_mapping
from prefect_cvat.models import Attribute, Label, Sublabel


def task_label(name, label_id, **fields):
    return Label(id=label_id, name=name, **fields)


def test_labels_match_by_name():
    mapping = build_mapping([label_spec("car", 1)], [task_label("dog", 10), task_label("car", 11)])
    assert mapping.targets[1].id == 11


def test_several_labels_may_go_to_one_and_one_to_nothing():
    spec = [label_spec("car", 1), label_spec("truck", 2), label_spec("traffic light", 3)]
    mapping = build_mapping(
        spec,
        [task_label("vehicle", 10)],
        label_map={"car": "vehicle", "truck": "vehicle", "traffic light": None},
    )
    assert [mapping.targets[i] and mapping.targets[i].id for i in (1, 2, 3)] == [10, 10, None]


def test_case_may_be_ignored_but_an_exact_match_goes_first():
    labels = [task_label("CAR", 10), task_label("car", 11), task_label("Dog", 12)]
    mapping = build_mapping([label_spec("car", 1), label_spec("dog", 2)], labels, ignore_case=True)
    assert [mapping.targets[i].id for i in (1, 2)] == [11, 12]


def test_all_that_does_not_match_is_told_at_once_with_suggestions():
    spec = [
        label_spec("persn", 1),
        label_spec("car", 2, attributes=[text_attribute_spec("colour", 1)]),
        skeleton_label_spec("body", 3, [keypoint_spec("head", 1), keypoint_spec("foot", 2)]),
    ]
    labels = [
        task_label("person", 10),
        task_label("car", 11),
        task_label("body", 12, type="skeleton", sublabels=[Sublabel(id=20, name="head")]),
    ]
    with pytest.raises(BadFunctionError) as error:
        build_mapping(spec, labels)
    message = str(error.value)
    assert "label 'persn' is not in the task; did you mean 'person'?" in message
    assert "attribute 'colour' of label 'car' is not in the task" in message
    assert "sublabel 'foot' of label 'body' is not in the task" in message
    mapping = build_mapping(spec, labels, allow_unmatched_labels=True)
    assert len(mapping.unmatched) == 3
    assert mapping.targets[3].sublabels == {1: mapping.targets[3].sublabels[1], 2: None}


@pytest.mark.parametrize(
    ("function_type", "task_type", "conv", "fits"),
    [
        ("any", "rectangle", False, True),
        ("rectangle", "any", False, True),
        ("rectangle", "rectangle", False, True),
        ("rectangle", "polygon", False, False),
        ("mask", "polygon", False, False),
        ("mask", "polygon", True, True),
        ("mask", "mask", True, False),
    ],
)
def test_types_must_be_compatible(function_type, task_type, conv, fits):
    spec, labels = [label_spec("a", 1, type=function_type)], [task_label("a", 10, type=task_type)]
    if fits:
        assert build_mapping(spec, labels, conv_mask_to_poly=conv).targets[1].id == 10
    else:
        with pytest.raises(BadFunctionError, match=r"of type '\w+' in the function, but of type"):
            build_mapping(spec, labels, conv_mask_to_poly=conv, allow_unmatched_labels=True)


def test_attributes_must_be_alike():
    spec = [label_spec("a", 1, attributes=[select_attribute_spec("size", 5, ["s", "l"])])]

    def labels(**attribute):
        return [task_label("a", 10, attributes=[Attribute(id=7, name="size", **attribute)])]

    fitting = build_mapping(spec, labels(input_type="select", values=["l", "s"]))
    assert fitting.targets[1].attributes == {5: 7}
    with pytest.raises(BadFunctionError, match=r"has the values \['s', 'l'\].*\['xl'\]"):
        build_mapping(spec, labels(input_type="select", values=["xl"]))
    with pytest.raises(BadFunctionError, match="input type 'select' in the function, but 'text'"):
        build_mapping(spec, labels(input_type="text"))


def test_sublabels_and_attributes_may_be_renamed_and_dropped():
    spec = [
        skeleton_label_spec(
            "body",
            1,
            [keypoint_spec("head", 1), keypoint_spec("foot", 2)],
            attributes=[text_attribute_spec("colour", 1), text_attribute_spec("note", 2)],
        )
    ]
    labels = [
        task_label(
            "person",
            10,
            type="skeleton",
            sublabels=[Sublabel(id=20, name="top")],
            attributes=[Attribute(id=30, name="color", input_type="text")],
        )
    ]
    entry = {
        "name": "person",
        "sublabels": {"head": "top", "foot": None},
        "attributes": {"colour": "color", "note": None},
    }
    for label_map in ({"body": entry}, {"body": LabelMapEntry.model_validate(entry)}):
        target = build_mapping(spec, labels, label_map=label_map).targets[1]
        assert target.sublabels[1].id == 20
        assert target.sublabels[2] is None
        assert target.attributes == {1: 30, 2: None}


def test_a_map_that_speaks_of_what_is_not_there_is_refused():
    with pytest.raises(BadFunctionError, match="label_map speaks of label 'cra'.*did you mean 'car'"):
        build_mapping([label_spec("car", 1)], [task_label("car", 10)], label_map={"cra": "car"})
    with pytest.raises(BadFunctionError, match="label 'lorry' is not in the task"):
        build_mapping([label_spec("car", 1)], [task_label("car", 10)], label_map={"car": "lorry"})


def test_a_skeleton_needs_keypoints_in_the_task():
    spec = [skeleton_label_spec("person", 1, [keypoint_spec("head", 1)])]
    with pytest.raises(BadFunctionError, match="'person' is a skeleton in the function, .* has no keypoints"):
        build_mapping(spec, [task_label("person", 10)])
    mapping = build_mapping(spec, [task_label("person", 10)], allow_unmatched_labels=True)
    assert mapping.targets == {1: None}
