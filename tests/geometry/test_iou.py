"""Intersection over union of boxes and of shapes."""

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.iou import ComparableShape, box_iou
from prefect_cvat.masks import encode_mask, polygon_to_mask

BOX = [10, 10, 30, 30]


def shape(kind, coordinates, **fields):
    return ComparableShape({"type": kind, "points": coordinates, **fields}, Frame(0, "f.png", 64, 48))


def diamond_as_mask():
    bitmap = polygon_to_mask([20, 10, 30, 20, 20, 30, 10, 20], image_width=64, image_height=48)
    return encode_mask(bitmap)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("rectangle", BOX), ("rectangle", BOX), 1),
        (("rectangle", BOX), ("rectangle", [10, 10, 30, 20]), 0.5),
        (("rectangle", BOX), ("rectangle", [30, 10, 50, 30]), 0),
        # the box of an empty mask has one pixel
        (("mask", [1, 0, 0, 0, 0]), ("rectangle", [0, 0, 2, 1]), 0),
        # two outlines are compared pixel by pixel: the diamond fills half of the square
        (("polygon", [20, 10, 30, 20, 20, 30, 10, 20]), ("polygon", [10, 10, 30, 10, 30, 30, 10, 30]), 0.5),
        # (the rasterizations differ in pixels at the edge)
        (("mask", diamond_as_mask()), ("polygon", [20, 10, 30, 20, 20, 30, 10, 20]), 0.95),
        (("ellipse", [20, 20, 30, 10]), ("polygon", [10, 10, 30, 10, 30, 30, 10, 30]), 0.785),
        # an upright rectangle is compared with the bounding box of the other shape
        (("mask", diamond_as_mask()), ("rectangle", BOX), 1),
        (("ellipse", [20, 20, 30, 10]), ("rectangle", BOX), 1),
        # points and polylines have no area
        (("points", [20, 20]), ("rectangle", BOX), 0),
        (("polyline", [10, 10, 30, 30]), ("polyline", [10, 10, 30, 30]), 0),
    ],
)
def test_iou_of_two_shapes_does_not_depend_on_their_order(one, other, expected):
    assert shape(*one).iou(shape(*other)) == pytest.approx(expected, abs=0.06)
    assert shape(*other).iou(shape(*one)) == pytest.approx(expected, abs=0.06)


def test_rotated_rectangles_are_compared_by_their_rotated_outlines():
    flat, upright = shape("rectangle", [10, 20, 50, 30]), shape("rectangle", [25, 5, 35, 45])
    rotated = shape("rectangle", [10, 20, 50, 30], rotation=90)
    assert rotated.iou(upright) == pytest.approx(1)
    assert rotated.iou(flat) == pytest.approx(100 / 700)
    assert rotated.iou(shape("rectangle", [25, 5, 35, 45], rotation=180)) > 0.9


def test_a_polygon_without_points_is_an_invalid_response():
    with pytest.raises(InvalidResponseError, match="the polygon 7 on frame 0 .* cannot be read"):
        shape("polygon", [], id=7)


boxes = st.lists(
    st.tuples(*[st.floats(0, 100), st.floats(0, 100), st.floats(1, 50), st.floats(1, 50)]), max_size=5
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows]).reshape(-1, 4))


@given(boxes, boxes)
def test_box_iou_is_that_of_torchvision(one, other):
    expected = torchvision.ops.box_iou(torch.as_tensor(one), torch.as_tensor(other)).numpy()
    assert box_iou(one, other) == pytest.approx(expected, abs=1e-9)


def test_box_iou_of_boxes_without_area_is_0():
    assert box_iou(np.array([[5.0, 5, 5, 5]]), np.array([[5.0, 5, 5, 5], [0, 0, 9, 9]])).tolist() == [[0, 0]]
