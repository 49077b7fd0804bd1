"""Labels of functions as CVAT shows them: what a label map does to them."""

import pytest

from gateway_functions import BODY, CAR, COLOUR, COUNT, HEAD, LABELS, PARKED, SKY, TAIL, WEATHER
from prefect_cvat.auto_annotation import label_spec, select_attribute_spec, skeleton_label_spec
from prefect_cvat.gateway.shown_labels import label_records, shown_labels


def test_without_a_map_all_names_stay():
    shown = shown_labels(LABELS)
    assert {label_id: label.name for label_id, label in shown.items()} == {
        CAR: "car", SKY: "sky", BODY: "body", WEATHER: "weather",
    }  # fmt: skip
    assert shown[CAR].attributes == {COLOUR: "colour", COUNT: "count", PARKED: "parked"}


def test_map_renames_and_drops_labels_attributes_and_keypoints():
    label_map = {
        "car": {"name": "vehicle", "attributes": {"colour": "paint", "parked": None}},
        "body": {"name": "body", "sublabels": {"head": "nose", "tail": None}},
        "sky": None,
    }
    shown = shown_labels(LABELS, label_map)
    assert set(shown) == {CAR, BODY, WEATHER}
    assert (shown[CAR].name, shown[CAR].attributes) == ("vehicle", {COLOUR: "paint", COUNT: "count"})
    assert {key: each.name for key, each in shown[BODY].sublabels.items()} == {HEAD: "nose"}
    assert TAIL not in shown[BODY].sublabels
    vehicle, body, weather = label_records(LABELS, shown)
    assert [attribute["name"] for attribute in vehicle["attributes"]] == ["paint", "count"]
    assert [sublabel["name"] for sublabel in body["sublabels"]] == ["nose"]
    assert 'data-label-name="nose"' in body["svg"]
    assert weather == {"name": "weather", "type": "tag", "attributes": []}


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"cars": "x"}, "label 'cars', which the function does not have; did you mean 'car'"),
        ({"car": {"name": "car", "attributes": {"color": "x"}}}, "attribute 'color', which label 'car' does"),
        (
            {"body": {"name": "body", "sublabels": {"heads": "x"}}},
            "sublabel 'heads', which label 'body' does",
        ),
    ],
)
def test_map_of_what_is_not_there(label_map, message):
    with pytest.raises(ValueError, match=message):
        shown_labels(LABELS, label_map)


def test_labels_of_one_name_are_merged():
    labels = [
        label_spec("truck", 1, type="rectangle", attributes=[select_attribute_spec("axles", 1, ["2", "3"])]),
        label_spec("bus", 2, type="rectangle", attributes=[select_attribute_spec("line", 2, ["1"])]),
        label_spec("tram", 3, type="polygon", attributes=[select_attribute_spec("line", 3, ["9"])]),
    ]
    (record,) = label_records(
        labels, shown_labels(labels, dict.fromkeys(("truck", "bus", "tram"), "vehicle"))
    )
    assert (record["name"], record["type"]) == ("vehicle", "any")
    assert [attribute["name"] for attribute in record["attributes"]] == ["axles", "line"]


def test_skeleton_is_not_merged_with_another_label():
    labels = [skeleton_label_spec("a", 1, []), label_spec("b", 2)]
    with pytest.raises(ValueError, match="a skeleton and another label as 'b'"):
        label_records(labels, shown_labels(labels, {"a": "b"}))
