"""Detection functions as detectors of CVAT: what is listed, what is answered, what is left out."""

import json
import logging

import numpy as np
import pytest

from cvat_calls import image_file, stored
from gateway_functions import (
    BODY,
    CAR,
    COLOUR,
    COUNT,
    HEAD,
    PARKED,
    SKY,
    TAIL,
    WEATHER,
    Detection,
)
from prefect_cvat.auto_annotation import (
    cuboid,
    ellipse,
    keypoint,
    label_spec,
    mask,
    points,
    polygon,
    polyline,
    rectangle,
    skeleton,
    tag,
)
from prefect_cvat.gateway import GatewayConfiguration, ServedFunction
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import AttributeValRequest


def test_record_is_what_cvat_reads(serve):
    record = serve(det=Detection()).function("det").json()
    assert record["metadata"]["name"] == "det"
    annotations = record["metadata"]["annotations"]
    assert annotations["type"] == "detector"
    assert all(isinstance(value, str) for value in annotations.values())
    assert "prefect-cvat annotate" in record["spec"]["description"]
    labels = {label["name"]: label for label in json.loads(annotations["spec"])}
    assert set(labels) == {"car", "sky", "body", "weather"}
    assert labels["car"]["attributes"][0] == {
        "name": "colour",
        "input_type": "select",
        "values": ["red", "blue"],
    }
    assert labels["car"]["attributes"][2] == {"name": "parked", "input_type": "checkbox", "values": []}
    assert [each["name"] for each in labels["body"]["sublabels"]] == ["head", "tail"]
    assert labels["body"]["svg"].count("<circle") == 2


def test_every_type_of_annotation(serve):
    cube = [float(number) for number in range(1, 17)]
    found = [
        tag(WEATHER),
        rectangle(CAR, [1, 2, 10.5, 12], rotation=30),
        ellipse(CAR, [20, 20, 30, 15]),
        polygon(CAR, [1, 1, 9, 1, 9, 9]),
        polyline(CAR, [1, 1, 9, 1]),
        points(CAR, [3, 4]),
        cuboid(CAR, cube),
    ]
    items = serve(det=Detection(found)).from_page("det")
    assert [item["type"] for item in items] == [
        "tag", "rectangle", "ellipse", "polygon", "polyline", "points", "cuboid",
    ]  # fmt: skip
    assert [stored(item) for item in items] == [
        [], [1, 2, 10.5, 12], [20, 20, 30, 15], [1, 1, 9, 1, 9, 9], [1, 1, 9, 1], [3, 4], cube,
    ]  # fmt: skip
    assert items[1]["rotation"] == 30
    assert {item["label"] for item in items} == {"car", "weather"}


def test_mask_is_dense_with_its_box_and_a_polygon(serve):
    bitmap = np.zeros((48, 64), dtype=bool)
    bitmap[5:20, 7:40] = True
    bitmap[10:12, 10:30] = False
    bitmap[30:32, 2:4] = True  # a second, smaller part
    (item,) = serve(det=Detection([mask(SKY, encode_mask(bitmap))])).from_page("det")
    assert stored(item) == encode_mask(bitmap)
    assert item["mask"][-4:] == [2, 5, 39, 31]
    assert len(item["mask"]) == 38 * 27 + 4
    xs, ys = item["points"][0::2], item["points"][1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == pytest.approx((7, 40, 5, 20), abs=1)  # the larger part


def test_skeleton_has_its_keypoints_by_name(serve):
    body = skeleton(BODY, [keypoint(HEAD, [3, 4]), keypoint(TAIL, [5, 6], outside=True)])
    (item,) = serve(det=Detection([body])).from_page("det")
    assert [(each["label"], each["points"], each["outside"]) for each in item["elements"]] == [
        ("head", [3, 4], False),
        ("tail", [5, 6], True),
    ]
    assert stored(item)


def test_keypoint_beyond_the_edge_is_moved_there_and_marked_as_outside(serve, caplog):
    caplog.set_level(logging.INFO, "prefect_cvat.gateway")
    body = skeleton(BODY, [keypoint(HEAD, [3, 4]), keypoint(TAIL, [-5, 9_999])])
    (item,) = serve(det=Detection([body])).from_page("det")
    head, tail = item["elements"]
    assert (head["outside"], tail["outside"], tail["points"][0]) == (False, True, 0)
    assert 0 < tail["points"][1] < 9_999
    assert "1 keypoints outside the image" in caplog.text


def test_skeleton_without_visible_keypoint_is_counted(serve, caplog):
    caplog.set_level(logging.INFO, "prefect_cvat.gateway")
    hidden = skeleton(BODY, [keypoint(HEAD, [3, 4], outside=True), keypoint(TAIL, [5, 6], outside=True)])
    assert serve(det=Detection([hidden])).from_page("det") == []
    assert "1 skeletons without a visible keypoint" in caplog.text


def test_attributes_are_texts_by_name(serve):
    values = [(COLOUR, "red"), (COUNT, 4), (PARKED, True)]
    attributes = [AttributeValRequest(spec_id=spec_id, value=value) for spec_id, value in values]
    (item,) = serve(det=Detection([rectangle(CAR, [1, 2, 3, 4], attributes=attributes)])).from_page("det")
    assert item["attributes"] == [
        {"name": "colour", "value": "red"},
        {"name": "count", "value": "4"},
        {"name": "parked", "value": "true"},
    ]


def test_groups_of_two_images_do_not_mix(serve):
    pair = [rectangle(CAR, [1, 2, 3, 4], group=1), rectangle(CAR, [5, 6, 7, 8], group=1)]
    calls = serve(det=Detection(pair))
    groups = [{item["group_id"] for item in calls.from_page("det")} for _ in range(2)]
    assert [len(each) for each in groups] == [1, 1]
    assert groups[0] != groups[1]
    assert all(0 < number < 2**31 for each in groups for number in each)


def test_what_cvat_does_not_keep_is_counted(serve, caplog):
    caplog.set_level(logging.INFO, "prefect_cvat.gateway")
    found = [
        rectangle(CAR, [1, 2, 3, 4], score=0.5, occluded=True),
        rectangle(CAR, [-10, -10, 20, 20], z_order=3),
        rectangle(CAR, [100, 100, 120, 120]),
    ]
    items = serve(det=Detection(found)).from_page("det")
    assert [stored(item) for item in items] == [[1, 2, 3, 4], [0, 0, 20, 20]]
    for lost in ("1 scores", "1 marks as occluded", "1 z-orders", "1 clipped at the edge", "1 outside"):
        assert lost in caplog.text


def test_threshold_reaches_the_function_and_filters(serve):
    function = Detection([rectangle(CAR, [1, 2, 3, 4], score=score) for score in (0.3, 0.6)])
    calls = serve(det=function)
    assert len(calls.from_page("det")) == 2  # CVAT leaves out a threshold of 0
    assert len(calls.from_page("det", threshold=0.5)) == 1
    assert [context.conf_threshold for context in function.contexts] == [None, 0.5]


def test_label_map_and_thresholds_of_the_configuration(serve, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle\n"
        "spec = DetectionFunctionSpec(labels=[label_spec(n, i) for i, n in enumerate(['a', 'b', 'c'])])\n"
        "def detect(context, image):\n"
        "    return [rectangle(i, [1, 2, 3, 4], score=0.5) for i in range(3)]\n"
    )
    entry = ServedFunction(
        function_file=file, label_map={"a": "car", "b": None}, label_thresholds={"c": 0.6}, title="Mine"
    )
    calls = serve(GatewayConfiguration(port=0, functions=[entry]))
    assert calls.gateway.wait_until_described(60)
    record = calls.function("mine").json()["metadata"]["annotations"]
    assert record["name"] == "Mine"
    assert [label["name"] for label in json.loads(record["spec"])] == ["car", "c"]
    assert [item["label"] for item in calls.from_page("mine")] == ["car"]


def test_labels_shown_under_one_name_are_listed_once(serve, tmp_path):
    entry = {"function": "nanodet_detection", "label_map": {"truck": "vehicle", "bus": "vehicle"}}
    calls = serve(GatewayConfiguration(port=0, functions=[ServedFunction(**entry)]))
    assert calls.gateway.wait_until_described(90)
    record = calls.function("nanodet_detection").json()["metadata"]["annotations"]
    names = [label["name"] for label in json.loads(record["spec"])]
    assert names.count("vehicle") == 1
    assert len(names) == len(set(names)) == 79


def test_invalid_annotations_never_leave(serve):
    not_finite = rectangle(CAR, [1, 2, 3, 4])
    not_finite.points[2] = float("nan")
    calls = serve(
        nan=Detection([not_finite]),
        unknown=Detection([rectangle(99, [1, 2, 3, 4])]),
        odd=Detection([polygon(CAR, [1, 2, 3])]),
        runs=Detection([mask(SKY, [1, 2, 0, 0, 5, 5])]),
    )
    assert calls.refused("nan") == (
        500,
        "nan: image " + calls_digest() + ": function output rectangle with coordinates that are not finite:"
        " [1.0, 2.0, nan, 4.0]",
    )
    assert "unknown label ID" in calls.refused("unknown")[1]
    assert "polygon with 3 numbers" in calls.refused("odd")[1]
    assert "mask" in calls.refused("runs")[1]


def calls_digest():
    import hashlib

    from pictures import picture

    return hashlib.sha256(picture()).hexdigest()[:8]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "CMYK"])
def test_images_of_any_mode(serve, mode):
    function = Detection()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    if mode == "I;16":
        file = image_file(pixels[:, :, 0].astype(np.uint16) * 257)
    else:
        import PIL.Image

        image = PIL.Image.fromarray(pixels).convert(mode)
        file = image_file(image, "JPEG" if mode == "CMYK" else "PNG")
    assert serve(det=function).from_page("det", file)
    assert function.images[0].mode == mode
    assert function.images[0].size == (64, 48)


def test_two_labels_of_one_name_are_refused_at_the_start(serve):
    with pytest.raises(ValueError, match="two labels named 'a'"):
        serve(det=Detection(labels=[label_spec("a", 1), label_spec("a", 2)]))
