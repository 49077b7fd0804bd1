import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.auto_annotation import ellipse, mask, points, polygon, polyline, rectangle
from prefect_cvat.clipping import clip_shape
from prefect_cvat.masks import decode_mask, encode_mask

WIDTH, HEIGHT = 100, 50
coordinates = st.floats(-300, 300, allow_nan=False, width=32)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (rectangle(1, [10, 10, 20, 20]), [10, 10, 20, 20]),
        (rectangle(1, [-5, -5, 200, 20]), [0, 0, 100, 20]),
        (rectangle(1, [20, 20, 10, 10]), [10, 10, 20, 20]),
        (rectangle(1, [100, 0, 120, 50]), None),
        (rectangle(1, [90, 40, 110, 60], rotation=30), [90, 40, 110, 60]),
        (rectangle(1, [190, 140, 210, 160], rotation=30), None),
        (ellipse(1, [0, 0, 10, -10]), [0, 0, 10, -10]),
        (ellipse(1, [-20, -20, -10, -30]), None),
        (polygon(1, [-10, 10, 10, 10, 10, 20, -10, 20]), [0, 10, 10, 10, 10, 20, 0, 20]),
        (polygon(1, [-10, 10, -5, 10, -5, 20]), None),
        (points(1, [5, 5, 500, 5]), [5, 5]),
        (points(1, [500, 5]), None),
        (polyline(1, [50, 25, 150, 25]), [50, 25, 100, 25]),
        (polyline(1, [-10, 25, -20, 25]), None),
    ],
    ids=lambda value: value.type.value if hasattr(value, "type") else "",
)
def test_shapes_are_cut_moved_or_dropped(shape, expected):
    clipped, is_changed = clip_shape(shape, WIDTH, HEIGHT)
    if expected is None:
        assert clipped is None
    else:
        assert sorted(clipped) == sorted(expected)
    assert is_changed == (clipped != shape.points)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
def test_cut_polygons_lie_inside(corners):
    clipped, _ = clip_shape(polygon(1, [number for corner in corners for number in corner]), WIDTH, HEIGHT)
    if clipped is not None:
        assert len(clipped) >= 6
        assert all(-1e-6 <= x <= WIDTH + 1e-6 for x in clipped[0::2])
        assert all(-1e-6 <= y <= HEIGHT + 1e-6 for y in clipped[1::2])


@given(st.tuples(coordinates, coordinates, coordinates, coordinates))
def test_the_area_of_a_cut_box_is_that_of_the_intersection(box):
    x1, y1, x2, y2 = box
    clipped, _ = clip_shape(rectangle(1, box), WIDTH, HEIGHT)
    width = min(max(x1, x2), WIDTH) - max(min(x1, x2), 0)
    height = min(max(y1, y2), HEIGHT) - max(min(y1, y2), 0)
    if width <= 0 or height <= 0:
        assert clipped is None
    else:
        as_polygon, _ = clip_shape(polygon(1, [x1, y1, x2, y1, x2, y2, x1, y2]), WIDTH, HEIGHT)
        assert (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) == pytest.approx(width * height)
        if as_polygon is not None:
            assert area(as_polygon) == pytest.approx(width * height, rel=1e-5, abs=1e-4)


def area(numbers):
    xs, ys = np.array(numbers[0::2]), np.array(numbers[1::2])
    return abs(float(np.sum(xs * np.roll(ys, -1) - np.roll(xs, -1) * ys))) / 2


def test_masks_that_reach_outside_are_cut():
    bitmap = np.zeros((60, 60), bool)
    bitmap[10:50, 10:50] = True
    encoded = encode_mask(bitmap)
    shifted = [*encoded[:-4], *(number + 20 for number in encoded[-4:])]
    clipped, is_changed = clip_shape(mask(1, shifted), 60, 60)
    assert is_changed
    expected = np.zeros((60, 60), bool)
    expected[30:60, 30:60] = True
    assert (decode_mask(clipped, image_width=60, image_height=60) == expected).all()
    assert clip_shape(mask(1, [*encoded[:-4], 70, 70, 109, 109]), 60, 60) == (None, True)
    assert not math.isnan(sum(clipped))
