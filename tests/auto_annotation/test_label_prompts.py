"""Words for the labels of a task: their names made readable, and what users give."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.auto_annotation import BadFunctionError, TaskLabel, prompts_for_labels
from prefect_cvat.auto_annotation.label_prompts import readable
from prefect_cvat.models import LabelType


def labels(*names, type="any"):
    return [TaskLabel(name, type) for name in names]


def words(task_labels, prompts=None):
    return {each.label.name: each.words for each in prompts_for_labels(task_labels, prompts)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("car", "car"),
        ("traffic_light", "traffic light"),
        ("traffic-light", "traffic light"),
        ("trafficLight", "traffic light"),
        ("TrafficLight2", "traffic light2"),
        ("LEDLamp", "led lamp"),
        ("iPhone", "iphone"),
        ("STOP SIGN", "stop sign"),
        ("person (sitting)", "person sitting"),
        ("car/van", "car van"),
        ("men's shoe", "men's shoe"),
        ("R&D", "r&d"),
        ("C++", "c++"),
        ("🚗 car", "car"),
        ("ＣＡＲ", "car"),
        ("Fußgänger", "fußgänger"),
        ("गाड़ी", "गाड़ी"),
        ("交通灯", "交通灯"),
        ("4x4", "4x4"),
        ("", ""),
        ("___", ""),
        ("&", ""),
        ("🚗", ""),
    ],
)
def test_a_name_is_made_readable(name, expected):
    assert readable(name) == expected


@given(st.text(max_size=60))
def test_readable_words_have_single_spaces_and_stay_the_same(name):
    found = readable(name)
    assert found == " ".join(found.split())
    assert readable(found) == found
    assert found == "" or any(map(str.isalnum, found))


def test_prompts_take_the_place_of_names():
    task_labels = labels("person", "traffic_sign", "sky", "van")
    given_words = {"person": "a person,  a pedestrian, A person", "sky": None, "van": ["van, white", "van"]}
    assert words(task_labels, given_words) == {
        "person": ("a person", "a pedestrian"),
        "traffic_sign": ("traffic sign",),
        "van": ("van, white", "van"),
    }
    assert words(labels("a,b")) == {"a,b": ("a b",)}


def test_labels_that_are_no_boxes_or_masks_are_left_out_with_a_line_in_the_log(caplog):
    caplog.set_level(logging.INFO)
    others = [TaskLabel(each.value, each.value) for each in LabelType if each.value != "interval"]
    assert set(words(others)) == {"any", "rectangle", "polygon", "mask"}
    assert "6 labels of other types than boxes, polygons and masks left out: 'cuboid (cuboid)'" in caplog.text
    assert words(labels("weather", type="tag") + labels("car"), {"weather": None}) == {"car": ("car",)}


@pytest.mark.parametrize(
    ("task_labels", "prompts", "message"),
    [
        (labels("car", "..."), None, "label '...' has no words in its name; give words for it with prompts, or null"),
        (labels("car", ""), None, "label '' has no words in its name"),
        (labels("car", "Car"), None, "labels 'car' and 'Car' have the same prompt 'car'; give one of them other words"),
        (labels("car", "van"), {"van": "truck, CAR"}, "labels 'car' and 'van' have the same prompt 'CAR'"),
        (labels("person"), {"persn": "a person"}, "prompts for 'persn', not labels of the task; did you mean 'person'?"),
        (labels("person"), {"boat": None}, "prompts for 'boat', not labels of the task; there are 'person'"),
        (labels("car"), {"car": ""}, "the prompt of label 'car' is '', which has no words; give null to leave"),
        (labels("car"), {"car": []}, "the prompt of label 'car' is [], which has no words"),
        (labels("car"), {"car": "car, ..."}, "the prompt of label 'car' is 'car, ...', which has no words"),
        (labels("car"), {"car": 3}, "the prompt of label 'car' is 3; expected words, a list of words, or null"),
        (labels("car"), {"car": ["a", 3]}, "expected words, a list of words, or null"),
        (labels("car"), {"car": None}, "no label of the task can be found by words"),
        (labels("body", type="skeleton"), None, "no label of the task can be found by words"),
        (
            labels("body", type="skeleton") + labels("car"),
            {"body": "a person"},
            "prompts for label 'body' of type skeleton; words find boxes and masks, so give null for it",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_refused(task_labels, prompts, message):
    with pytest.raises(BadFunctionError) as caught:
        prompts_for_labels(task_labels, prompts)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_may_have_two_thousand_labels():
    task_labels = labels(*(f"thing {number}" for number in range(2000)))
    assert len(words(task_labels, {f"thing {number}": f"a {number}" for number in range(2000)})) == 2000
