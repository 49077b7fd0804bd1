"""CVAT's shapes in COCO's format."""

import math

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prefect_cvat.evaluation import evaluate
from prefect_cvat.evaluation.inputs.coco_conversion import compare_in_coco
from prefect_cvat.evaluation.tag_metrics import evaluate_tags
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import Label

FRAMES = [Frame(0, "a.png", 100, 80), Frame(5, "b.png", 60, 90)]
LABELS = [
    Label(id=1, name="car", type="any"),
    Label(id=2, name="cell", type="any"),
    Label.model_validate(
        {"id": 3, "name": "bird", "type": "skeleton", "sublabels": [{"id": 31, "name": "beak"}, {"id": 32, "name": "tail"}]}
    ),
]  # fmt: skip


def shape(kind, points, label=1, frame=0, **fields):
    return {
        "id": 9,
        "type": kind,
        "frame": frame,
        "label_id": label,
        "points": points,
        "rotation": 0.0,
    } | fields


def disc(cx, cy, radius, width=100, height=80):
    y, x = np.mgrid[:height, :width] + 0.5
    return (x - cx) ** 2 + (y - cy) ** 2 <= radius**2


def box_of(one):
    [annotation] = compare_in_coco(FRAMES, LABELS, [one], [])["bbox"].truth["annotations"]
    return annotation["bbox"]


@pytest.mark.parametrize(
    ("one", "box"),
    [
        (shape("rectangle", [10, 20, 30, 50]), [10, 20, 20, 30]),
        (shape("rectangle", [30, 50, 10, 20]), [10, 20, 20, 30]),
        (shape("rectangle", [10, 20, 30, 50], rotation=90), [5, 25, 30, 20]),
        (shape("polygon", [10, 20, 30, 25, 15, 50]), [10, 20, 20, 30]),
        (shape("ellipse", [20, 30, 35, 20]), [5, 20, 30, 20]),
        (shape("ellipse", [20, 30, 35, 20], rotation=90), [10, 15, 20, 30]),
        (shape("mask", [0, 6, 10, 20, 11, 21]), [10, 20, 2, 2]),
        (shape("cuboid", [0, 0, 9, 0, 0, 9, 9, 9, 20, 5, 29, 5, 20, 14, 29, 14]), [0, 0, 29, 14]),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_bounding_box_of_a_shape(one, box):
    if one["type"] == "mask":
        one["points"] = [0, 4, 10, 20, 11, 21]
    assert box_of(one) == pytest.approx(box, abs=0.1)


def test_masks_polygons_and_ellipses_of_the_same_disc_agree():
    steps = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    polygon = np.stack([50 + 25 * np.cos(steps), 40 + 25 * np.sin(steps)], axis=1).ravel().tolist()
    discs = [
        shape("mask", encode_mask(disc(50, 40, 25))),
        shape("polygon", polygon),
        shape("ellipse", [50, 40, 75, 15]),
        shape("ellipse", [50, 40, 75, 15], rotation=33),
    ]
    for truth in discs:
        for found in discs:
            compared = compare_in_coco(FRAMES, LABELS, [truth], [found | {"score": 0.5}])["segm"]
            result = evaluate(compared.truth, compared.predictions, iou_type="segm", iou_threshold=0.95)
            assert result.true_positives == 1


def test_rotated_rectangle_is_not_its_bounding_box():
    turned = shape("rectangle", [20, 30, 80, 50], rotation=45)
    upright = shape("polygon", [20, 30, 80, 30, 80, 50, 20, 50])
    compared = compare_in_coco(FRAMES, LABELS, [turned], [turned | {"score": 0.5}, upright | {"score": 0.9}])
    result = evaluate(
        compared["segm"].truth, compared["segm"].predictions, iou_type="segm", iou_threshold=0.9
    )
    assert (result.true_positives, result.false_positives) == (1, 1)
    assert result.matches.object_of.tolist() == [0, -1]


def test_masks_are_compared_if_a_label_has_outlines_on_both_sides():
    polygon = [10, 20, 30, 20, 30, 50]
    truth = [shape("polygon", polygon, 1), shape("polygon", polygon, 2)]
    boxes = [shape("rectangle", [10, 20, 30, 50], 1), shape("rectangle", [10, 20, 30, 50], 2)]
    assert set(compare_in_coco(FRAMES, LABELS, truth, boxes)) == {"bbox"}
    mixed = compare_in_coco(FRAMES, LABELS, truth, [boxes[0], shape("polygon", polygon, 2)])
    assert [item["label_id"] for item in mixed["segm"].truth_shapes] == [2]
    assert len(mixed["bbox"].truth_shapes) == 2
    missed = compare_in_coco(FRAMES, LABELS, truth, [shape("polygon", polygon, 2)])
    assert len(missed["segm"].truth_shapes) == 2  # nothing was found of label 1, in any form


def test_skeletons_are_compared_by_their_keypoints():
    elements = [
        {"label_id": 32, "points": [30, 30], "occluded": True},
        {"label_id": 31, "points": [10, 10]},
    ]
    skeleton = shape("skeleton", [], 3, elements=elements)
    compared = compare_in_coco(FRAMES, LABELS, [skeleton], [skeleton | {"score": 0.5}])
    assert set(compared) == {"keypoints"}
    [annotation] = compared["keypoints"].truth["annotations"]
    assert annotation["keypoints"] == [10, 10, 2, 30, 30, 1]
    assert annotation["num_keypoints"] == 2
    assert annotation["area"] == pytest.approx(0.53 * 20 * 20)
    found = compared["keypoints"]
    assert evaluate(found.truth, found.predictions, iou_type="keypoints").ap == 1


def test_outside_keypoints_are_ignored():
    def bird(tail_outside):
        elements = [
            {"label_id": 31, "points": [10, 10]},
            {"label_id": 32, "points": [30, 30], "outside": tail_outside},
        ]
        return shape("skeleton", [], 3, elements=elements)

    def similarity(truth, found):
        compared = compare_in_coco(FRAMES, LABELS, [truth], [found | {"score": 0.5}])["keypoints"]
        result = evaluate(compared.truth, compared.predictions, iou_type="keypoints", iou_threshold=0.01)
        return result.matches.similarity.tolist()

    assert similarity(bird(tail_outside=True), bird(tail_outside=False)) == [1]
    assert similarity(bird(tail_outside=False), bird(tail_outside=True)) == [0.5]


def test_points_and_polylines_are_not_compared():
    lines = [shape("polyline", [1, 2, 3, 4]), shape("points", [1, 2])]
    assert compare_in_coco(FRAMES, LABELS, lines, lines) == {}


def test_frames_may_have_different_sizes():
    found = compare_in_coco(FRAMES, LABELS, [shape("mask", encode_mask(disc(30, 80, 9, 60, 90)), frame=5)], [
        shape("mask", encode_mask(disc(30, 80, 9, 60, 90)), frame=5, score=0.7)])["segm"]  # fmt: skip
    assert found.truth["annotations"][0]["segmentation"]["size"] == [90, 60]
    assert evaluate(found.truth, found.predictions, iou_type="segm").ap == 1


@given(
    bitmap=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 7))).filter(np.any),
    margins=st.tuples(*[st.integers(0, 3)] * 4),
)
def test_mask_pixels_do_not_change(bitmap, margins):
    left, top, right, bottom = margins
    image = np.pad(bitmap, ((top, bottom), (left, right)))
    frame = Frame(0, "a.png", image.shape[1], image.shape[0])
    whole = [left, top, left + bitmap.shape[1], top + bitmap.shape[0]]
    one = shape("mask", encode_mask(image, whole))
    [annotation] = compare_in_coco([frame], LABELS, [one], [one])["segm"].truth["annotations"]
    assert pycocotools.mask.decode(annotation["segmentation"]).astype(bool).tolist() == image.tolist()
    assert (
        annotation["segmentation"]["counts"].encode()
        == pycocotools.mask.encode(np.asfortranarray(image, np.uint8))["counts"]
    )


@pytest.mark.parametrize(("kind", "points"), [("mask", [1, 0, 0, 0, 0]), ("rectangle", [5, 5, 5, 9])])
def test_empty_shapes_are_not_compared(kind, points):
    assert compare_in_coco(FRAMES, LABELS, [shape(kind, points)], [shape(kind, points)]) == {}


def test_invalid_mask_is_named():
    broken = shape("mask", [0, 3, 10, 20, 11, 21])
    with pytest.raises(InvalidResponseError, match=r"the mask 9 on frame 0 \(a.png\) cannot be read"):
        compare_in_coco(FRAMES, LABELS, [broken], [broken])


def test_equal_tags_are_true_positives():
    truth = {0: ["night"], 1: ["night", "rain"], 2: [], 3: ["rain"]}
    predicted = {0: ["night"], 1: ["night"], 3: ["night"], 9: ["rain"]}
    result = evaluate_tags(truth, predicted, range(4))
    assert (result.frames, result.accuracy) == (4, 0.5)
    night = result.by_label["night"]
    assert (night.truth, night.true_positives, night.false_positives) == (2, 2, 1)
    assert (result.by_label["rain"].recall, result.by_label["rain"].precision) == (0, None)
