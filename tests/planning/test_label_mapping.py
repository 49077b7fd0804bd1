import pytest

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    keypoint_spec,
    label_spec,
    select_attribute_spec,
    skeleton_label_spec,
    text_attribute_spec,
)
from prefect_cvat.messages.argument_names import argument, arguments_as_options
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import Attribute, Label, Sublabel
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.options.label_and_threshold_options import LabelMapEntry
from prefect_cvat.planning.label_mapping import build_mapping


def task_label(name, label_id, **fields):
    return Label(id=label_id, name=name, **fields)


def test_labels_match_by_name():
    mapping = build_mapping([label_spec("car", 1)], [task_label("dog", 10), task_label("car", 11)])
    assert mapping.targets[1].id == 11


def test_several_labels_can_map_to_one_and_one_to_none():
    spec = [label_spec("car", 1), label_spec("truck", 2), label_spec("traffic light", 3)]
    mapping = build_mapping(
        spec,
        [task_label("vehicle", 10)],
        label_map={"car": "vehicle", "truck": "vehicle", "traffic light": None},
    )
    assert [mapping.targets[i] and mapping.targets[i].id for i in (1, 2, 3)] == [10, 10, None]


def test_case_can_be_ignored_but_exact_matches_take_precedence():
    labels = [task_label("CAR", 10), task_label("car", 11), task_label("Dog", 12)]
    mapping = build_mapping([label_spec("car", 1), label_spec("dog", 2)], labels, ignore_case=True)
    assert [mapping.targets[i].id for i in (1, 2)] == [11, 12]


def test_all_mismatches_are_reported_at_once_with_suggestions():
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
    assert message.startswith("the function does not fit the task in 3 points:")
    assert "label 'persn' is not in dataset; did you mean 'person'?" in message
    assert "attribute 'colour' of label 'car' is not in dataset" in message
    assert "sublabel 'foot' of label 'body' is not in dataset" in message
    mapping = build_mapping(spec, labels, allow_unmatched_labels=True)
    assert mapping.unmatched == (
        "label 'persn'",
        "attribute 'colour' of label 'car'",
        "sublabel 'foot' of label 'body'",
    )
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
        with pytest.raises(
            BadFunctionError, match=r"has type '\w+' in the function, but '\w+' in the dataset"
        ):
            build_mapping(spec, labels, conv_mask_to_poly=conv, allow_unmatched_labels=True)


def test_attributes_must_match():
    spec = [label_spec("a", 1, attributes=[select_attribute_spec("size", 5, ["s", "l"])])]

    def labels(**attribute):
        return [task_label("a", 10, attributes=[Attribute(id=7, name="size", **attribute)])]

    fitting = build_mapping(spec, labels(input_type="select", values=["l", "s"]))
    assert fitting.targets[1].attributes == {5: 7}
    with pytest.raises(BadFunctionError, match=r"has values \['s', 'l'\] in .*\['xl'\] in the dataset"):
        build_mapping(spec, labels(input_type="select", values=["xl"]))
    with pytest.raises(BadFunctionError, match="input type select in the function, but text in"):
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


def test_label_map_with_unknown_names_is_refused():
    with pytest.raises(BadFunctionError, match="label_map names label 'Cars'.*did you mean 'car'"):
        build_mapping([label_spec("car", 1)], [task_label("car", 10)], label_map={"Cars": "car"})
    with pytest.raises(BadFunctionError, match="label 'car' is not in dataset as 'lorry', which label_map"):
        build_mapping([label_spec("car", 1)], [task_label("car", 10)], label_map={"car": "lorry"})


def test_a_skeleton_needs_keypoints_in_the_task():
    spec = [skeleton_label_spec("person", 1, [keypoint_spec("head", 1)])]
    with pytest.raises(
        BadFunctionError, match="'person' is not in dataset, where label 'person' has no sublabels"
    ):
        build_mapping(spec, [task_label("person", 10)])
    mapping = build_mapping(spec, [task_label("person", 10)], allow_unmatched_labels=True)
    assert mapping.targets == {1: None}
    with pytest.raises(BadFunctionError, match="has type 'skeleton' in the function, but 'rectangle' in the"):
        build_mapping(spec, [task_label("person", 10, type="rectangle")], allow_unmatched_labels=True)


@pytest.mark.parametrize(
    ("name", "others", "meant"),
    [
        ("persn", ["dog", "person"], "person"),
        ("Traffic-Light", ["traffic_light"], "traffic_light"),
        ("cars", ["cat", "car"], "car"),
        ("colour", ["color"], "color"),
        ("bicylce", ["bicycle"], "bicycle"),
        ("tie", ["toilet", "tv"], None),
        ("cat", ["car"], None),
        ("mouse", ["house"], None),
        ("boat", ["goat"], None),
        ("sheep", ["sheet"], None),
        ("car", [], None),
        ("", ["car", " "], None),
    ],
)
def test_only_similar_names_are_suggested(name, others, meant):
    assert did_you_mean(name, others) == (f"; did you mean {meant!r}?" if meant else "")


def test_ten_problems_are_listed_and_the_others_counted():
    spec = [label_spec(f"label {number}", number) for number in range(73)]
    with pytest.raises(BadFunctionError) as error:
        build_mapping(spec, [task_label("car", 10)], task_name="task 5")
    lines = str(error.value).splitlines()
    assert lines[0] == "the function does not fit task 5 in 73 points:"
    assert lines[1:11] == [f"  - label 'label {number}' is not in dataset" for number in range(10)]
    assert lines[11:] == [
        "  and 63 more",
        "Map them with label_map, or pass allow_unmatched_labels=True to drop them.",
    ]
    assert len(str(error.value)) < 1000
    assert len(build_mapping(spec, [], allow_unmatched_labels=True).unmatched) == 73


def test_command_line_messages_name_its_options():
    spec, labels = [label_spec("car", 1)], [task_label("person", 10)]
    with pytest.raises(BadFunctionError) as error, arguments_as_options({}):
        build_mapping(spec, labels, label_map={"dog": "person"})
    text = str(error.value)
    assert "--label-map names label 'dog'" in text
    assert "Map them with --label-map, or pass --allow-unmatched-labels to drop them." in text
    assert "label_map" not in text
    with pytest.raises(BadFunctionError, match="pass allow_unmatched_labels=True to drop them"):
        build_mapping(spec, labels)


def test_arguments_with_values_are_named_in_python_and_as_options():
    python = [argument("existing", Existing.KEEP), argument("verify", False), argument("step", 3)]
    assert python == ["existing='keep'", "verify=False", "step=3"]
    with arguments_as_options({"verify": "--insecure"}):
        options = [argument("existing", Existing.KEEP), argument("verify", False), argument("max_gap", 3)]
    assert options == ["--existing keep", "--insecure", "--max-gap 3"]


# --- the keypoints of skeletons ---


def skeleton(*names):
    return [skeleton_label_spec("body", 1, [keypoint_spec(name, i) for i, name in enumerate(names)])]


def task_skeleton(*names):
    sublabels = [Sublabel(id=20 + i, name=name) for i, name in enumerate(names)]
    return [task_label("body", 12, type="skeleton", sublabels=sublabels)]


@pytest.mark.parametrize("allow_unmatched_labels", [False, True])
def test_a_skeleton_that_lacks_a_keypoint_of_the_task_is_refused(allow_unmatched_labels):
    """CVAT refuses skeletons that lack any of them, so it would refuse all that the function finds."""
    with pytest.raises(BadFunctionError) as error:
        build_mapping(
            skeleton("head"),
            task_skeleton("head", "hand", "foot"),
            allow_unmatched_labels=allow_unmatched_labels,
        )
    assert (
        "label 'body' is a skeleton with fewer elements than expected (1 vs 3): the function has no 'hand',"
        " 'foot'" in str(error.value)
    )
    dropped = build_mapping(skeleton("head"), task_skeleton("head", "hand"), label_map={"body": None})
    assert dropped.targets == {1: None}


def test_unknown_keypoints_are_reported_with_suggestions():
    with pytest.raises(BadFunctionError) as error:
        build_mapping(skeleton("left_eye", "nose"), task_skeleton("left eye", "nose"))
    assert "sublabel 'left_eye' of label 'body' is not in dataset; did you mean 'left eye'?" in str(
        error.value
    )
    label_map = {"body": {"name": "body", "sublabels": {"left_eye": "left eye"}}}
    mapping = build_mapping(
        skeleton("left_eye", "nose"), task_skeleton("left eye", "nose"), label_map=label_map
    )
    assert [target.id for target in mapping.targets[1].sublabels.values()] == [20, 21]


def test_surplus_keypoints_are_dropped_if_allowed():
    mapping = build_mapping(skeleton("head", "tail"), task_skeleton("head"), allow_unmatched_labels=True)
    assert mapping.targets[1].sublabels[1] is None


def test_two_keypoints_mapped_to_one_are_refused():
    label_map = {"body": {"name": "body", "sublabels": {"left": "eye", "right": "eye"}}}
    with pytest.raises(
        BadFunctionError, match="multiple elements with same sublabel: 'left', 'right' go to 'eye'"
    ):
        build_mapping(skeleton("left", "right"), task_skeleton("eye"), label_map=label_map)
