"""Clipping of shapes at the image edges."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from prefect_cvat.auto_annotation import cuboid, ellipse, mask, points, polygon, polyline, rectangle
from prefect_cvat.geometry.clip_at_image_edge import Clipping, clip_shape
from prefect_cvat.masks import decode_mask, encode_mask

WIDTH, HEIGHT = 100, 50
coordinates = st.floats(-300, 300, allow_nan=False, width=32)
whole = st.integers(-3, 13).map(lambda n: 10 * n)  # many of them on the edges and on one line
BOX = [-10, 20, 30, 40]
CUBOID = [-5, 5, -5, 25, 15, 5, 15, 25, 25, 8, 25, 28, 5, 8, 5, 28]


@pytest.mark.parametrize(
    ("shape", "expected", "clipping"),
    [
        (rectangle(1, [10, 10, 20, 20]), [[10, 10, 20, 20]], None),
        (rectangle(1, [0, 0, WIDTH, HEIGHT]), [[0, 0, WIDTH, HEIGHT]], None),
        (rectangle(1, [-5, -5, 200, 20]), [[0, 0, 100, 20]], Clipping.CUT),
        (rectangle(1, [20, 20, 10, 10]), [[10, 10, 20, 20]], Clipping.REORDERED),
        (rectangle(1, [20, 20, -10, 10]), [[0, 10, 20, 20]], Clipping.CUT),
        (rectangle(1, [100, 0, 120, 50]), [], Clipping.OUTSIDE),
        (rectangle(1, [5, 5, 5, 9]), [], Clipping.EMPTY),
        (rectangle(1, [500, 5, 500, 9]), [], Clipping.EMPTY),
        (rectangle(1, [90, 40, 110, 60], rotation=30), [[90, 40, 110, 60]], None),
        (rectangle(1, [30, 40, 10, 20], rotation=30), [[10, 20, 30, 40]], Clipping.REORDERED),
        (rectangle(1, [190, 140, 210, 160], rotation=30), [], Clipping.OUTSIDE),
        # the circle around it reaches the image, it does not
        (rectangle(1, [60, -25, 160, -15], rotation=1), [], Clipping.OUTSIDE),
        (rectangle(1, [60, -25, 160, -15], rotation=135), [[60, -25, 160, -15]], None),
        (rectangle(1, [10, 10, 10, 30], rotation=45), [], Clipping.EMPTY),
        (ellipse(1, [0, 0, 10, -10]), [[0, 0, 10, -10]], None),
        (ellipse(1, [20, 20, 10, 30]), [[20, 20, 30, 10]], Clipping.REORDERED),
        (ellipse(1, [-20, -20, -10, -30]), [], Clipping.OUTSIDE),
        (ellipse(1, [20, 20, 20, 30]), [], Clipping.EMPTY),
        (polygon(1, [-10, 10, 10, 10, 10, 20, -10, 20]), [[0, 10, 10, 10, 10, 20, 0, 20]], Clipping.CUT),
        (polygon(1, [-10, 10, -5, 10, -5, 20]), [], Clipping.OUTSIDE),
        (polygon(1, [5, 5, 10, 10, 20, 20, 15, 15]), [], Clipping.EMPTY),
        (polygon(1, [0, 0, 10, 10, 10, 0, 0, 10]), [[0, 0, 10, 10, 10, 0, 0, 10]], None),  # crosses itself
        (points(1, [5, 5, 500, 5]), [[5, 5]], Clipping.CUT),
        (points(1, [500, 5]), [], Clipping.OUTSIDE),
        (polyline(1, [50, 25, 150, 25]), [[50, 25, 100, 25]], Clipping.CUT),
        (polyline(1, [-10, 25, -20, 25]), [], Clipping.OUTSIDE),
        (polyline(1, [-10, 10, 10, -10.5]), [], Clipping.OUTSIDE),  # passes a corner
        (polyline(1, [5, 5, 5, 5]), [], Clipping.EMPTY),
        (polyline(1, [0, 0, 0, 20, -5, 30]), [[0, 0, 0, 20]], Clipping.CUT),  # along the edge
        (cuboid(1, CUBOID), [CUBOID], None),
        (cuboid(1, [number - 100 for number in CUBOID]), [], Clipping.OUTSIDE),
        (cuboid(1, [5] * 16), [], Clipping.EMPTY),
        (mask(1, [1, 0, 0, 0, 0]), [], Clipping.EMPTY),
        (mask(1, [6, 10, 10, 12, 11]), [], Clipping.EMPTY),
        (mask(1, [0, 2, 10, 10, 11, 10]), [[0, 2, 10, 10, 11, 10]], None),
        (mask(1, [1, 1, -1, 10, 0, 10]), [[0, 1, 0, 10, 0, 10]], Clipping.CUT),
        (mask(1, [0, 1, 1, -1, 10, 0, 10]), [], Clipping.OUTSIDE),
    ],
    ids=lambda value: value.type.value if hasattr(value, "type") else "",
)
def test_shapes_are_clipped_reordered_or_dropped(shape, expected, clipping):
    parts, done = clip_shape(shape, WIDTH, HEIGHT)
    assert (list(parts), done) == (expected, clipping)


# --- polylines ---


def test_clips_polyline_at_image_edge():
    [part], clipping = clip_shape(polyline(1, [20.5, 100, 300, 90]), 200, 150)
    assert part == pytest.approx([20.5, 100, 200, 100 - 10 * (200 - 20.5) / (300 - 20.5)])
    assert part[3] == pytest.approx(93.6, abs=0.05)
    assert clipping is Clipping.CUT


def test_clips_polyline_to_parts_longest_first():
    parts, _ = clip_shape(polyline(1, [90, 10, 110, 10, 110, 20, 50, 20, 50, 30]), WIDTH, HEIGHT)
    assert parts == [[100, 20, 50, 20, 50, 30], [90, 10, 100, 10]]


lines = st.lists(
    st.one_of(st.tuples(coordinates, coordinates), st.tuples(whole, whole)), min_size=2, max_size=9
)


@given(lines)
def test_clipped_polyline_is_the_part_inside(line):
    parts, _ = clip_shape(polyline(1, [number for point in line for number in point]), WIDTH, HEIGHT)
    for part in parts:
        assert_inside(part)
    # along each stretch of the line, every place but the edge itself
    for start, end in pairwise(line):
        for step in np.linspace(0, 1, 23):
            place = np.array(start) + step * (np.array(end) - start)
            margin = min(*place, WIDTH - place[0], HEIGHT - place[1])
            if margin > 1e-3 and len(set(line)) > 1:
                assert min(distance_to_line(place, part) for part in parts) < 1e-3
    length = sum(length_of(part) for part in parts)
    assert length <= length_of([number for point in line for number in point]) + 1e-3


# --- polygons ---


def test_clips_polygon_to_parts_largest_first():
    comb = [-10, 0, 40, 0, 40, 10, -5, 10, -5, 20, 60, 20, 60, 30, -10, 30]
    parts, clipping = clip_shape(polygon(1, comb), WIDTH, HEIGHT)
    assert [area(part) for part in parts] == [600, 400]
    assert clipping is Clipping.CUT


def test_parts_connected_only_along_the_edge_are_separate():
    towers = [0, -10, 70, -10, 70, 20, 50, 20, 50, 0, 20, 0, 20, 10, 0, 10]
    parts, _ = clip_shape(polygon(1, towers), WIDTH, HEIGHT)
    assert [area(part) for part in parts] == [400, 200]


@st.composite
def simple_polygons(draw):
    """Points around a centre, or a comb with teeth of any length: neither crosses itself."""
    if draw(st.booleans()):
        centre = np.array([draw(coordinates), draw(coordinates)])
        count = draw(st.integers(3, 12))
        turns = np.sort([draw(st.integers(0, 359)) for _ in range(count)])
        assume(len(set(turns)) == count and max(np.diff([*turns, turns[0] + 360])) < 180)
        radii = [draw(st.floats(1, 300)) for _ in range(count)]
        corners = (
            centre
            + np.array(radii)[:, None] * np.array([np.cos(np.radians(turns)), np.sin(np.radians(turns))]).T
        )
    else:
        base = draw(whole)
        heights = draw(st.lists(st.integers(1, 30).map(lambda n: 10 * n), min_size=3, max_size=9))
        left = draw(whole)
        profile = [
            (left + 10 * (i + side), base + height) for i, height in enumerate(heights) for side in (0, 1)
        ]
        corners = np.array([(left, base), *profile, (left + 10 * len(heights), base)], float)
        if draw(st.booleans()):
            corners = corners[:, ::-1]
        corners = corners * draw(st.sampled_from([1, -1])) + np.array([draw(whole), draw(whole)])
    return [tuple(map(float, corner)) for corner in corners]


@given(simple_polygons(), st.booleans())
def test_parts_of_a_simple_polygon_are_simple_and_cover_the_part_inside(corners, is_reversed):
    if is_reversed:
        corners = corners[::-1]
    whole_polygon = [number for corner in corners for number in corner]
    parts, _ = clip_shape(polygon(1, whole_polygon), WIDTH, HEIGHT)
    for part in parts:
        assert len(part) >= 6
        assert_inside(part)
        assert_simple(part)
    inside = sum(area_between(corners, low, high) for low, high in pairwise(levels(corners)))
    assert sum(map(area, parts)) == pytest.approx(inside, rel=1e-6, abs=1e-3)
    assert [area(part) for part in parts] == sorted((area(part) for part in parts), reverse=True)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
@example([(0, 0), (100, 50), (-50, -25)])
def test_polygon_that_crosses_itself_is_clipped(corners):
    parts, _ = clip_shape(polygon(1, [number for corner in corners for number in corner]), WIDTH, HEIGHT)
    for part in parts:
        assert len(part) >= 6
        assert_inside(part)


@given(st.tuples(coordinates, coordinates, coordinates, coordinates))
def test_area_of_a_clipped_rectangle_is_that_of_the_intersection(box):
    x1, y1, x2, y2 = box
    parts, clipping = clip_shape(rectangle(1, box), WIDTH, HEIGHT)
    width = min(max(x1, x2), WIDTH) - max(min(x1, x2), 0)
    height = min(max(y1, y2), HEIGHT) - max(min(y1, y2), 0)
    if x1 == x2 or y1 == y2:
        assert (list(parts), clipping) == ([], Clipping.EMPTY)
    elif width <= 0 or height <= 0:
        assert (list(parts), clipping) == ([], Clipping.OUTSIDE)
    else:
        [cut] = parts
        as_polygon, _ = clip_shape(polygon(1, [x1, y1, x2, y1, x2, y2, x1, y2]), WIDTH, HEIGHT)
        assert (cut[2] - cut[0]) * (cut[3] - cut[1]) == pytest.approx(width * height)
        assert sum(map(area, as_polygon)) == pytest.approx(width * height, rel=1e-5, abs=1e-3)


# --- masks ---


def test_clips_mask_at_image_edge():
    bitmap = np.zeros((60, 60), bool)
    bitmap[10:50, 10:50] = True
    encoded = encode_mask(bitmap)
    shifted = [*encoded[:-4], *(number + 20 for number in encoded[-4:])]
    [cut], clipping = clip_shape(mask(1, shifted), 60, 60)
    expected = np.zeros((60, 60), bool)
    expected[30:60, 30:60] = True
    assert (decode_mask(cut, image_width=60, image_height=60) == expected).all()
    assert clipping is Clipping.CUT
    assert clip_shape(mask(1, [*encoded[:-4], 70, 70, 109, 109]), 60, 60) == ((), Clipping.OUTSIDE)


# --- measurements ---


def assert_inside(numbers):
    assert all(0 <= x <= WIDTH for x in numbers[0::2])
    assert all(0 <= y <= HEIGHT for y in numbers[1::2])


def area(numbers):
    xs, ys = np.array(numbers[0::2]), np.array(numbers[1::2])
    return abs(float(np.sum(xs * np.roll(ys, -1) - np.roll(xs, -1) * ys))) / 2


def length_of(numbers):
    return float(np.hypot(*np.diff(np.reshape(numbers, (-1, 2)), axis=0).T).sum())


def distance_to_line(place, numbers):
    distances = []
    for start, end in pairwise(np.reshape(numbers, (-1, 2))):
        along = end - start
        step = 0 if not along.any() else np.clip((place - start) @ along / (along @ along), 0, 1)
        distances.append(np.hypot(*(start + step * along - place)))
    return min(distances)


def assert_simple(numbers):
    """No two edges cross, and no two run along each other."""
    corners = np.reshape(numbers, (-1, 2))
    edges = list(zip(corners, np.roll(corners, -1, axis=0), strict=True))
    for (a, b), (c, d) in combinations(edges, 2):
        sides = [turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)]
        crosses = sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0
        assert not crosses, (a, b, c, d)
        if not any(sides):
            along = b - a
            low, high = sorted([(c - a) @ along, (d - a) @ along])
            assert min(high, along @ along) - max(low, 0) <= 1e-6, (a, b, c, d)


def turn(a, b, c):
    """Which side of a line a point is on: 0 within a millionth of a pixel."""
    (x1, y1), (x2, y2) = b - a, c - a
    distance = (x1 * y2 - x2 * y1) / (np.hypot(x1, y1) or 1)
    return 0 if abs(distance) < 1e-6 else np.sign(distance)


def levels(corners):
    """Heights between which the outline within the image consists of straight lines that do not meet."""
    found = {0.0, float(HEIGHT)}
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        found.add(min(max(y1, 0.0), HEIGHT))
        for edge in (0, WIDTH):
            if (x1 - edge) * (x2 - edge) < 0:
                found.add(min(max(y1 + (edge - x1) / (x2 - x1) * (y2 - y1), 0.0), HEIGHT))
    return sorted(found)


def area_between(corners, low, high):
    """The area of a simple polygon inside the image between two such heights: that of trapezia."""
    middle = (low + high) / 2
    crossings = []
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 - middle) * (y2 - middle) < 0:
            crossings.append(min(max(x1 + (middle - y1) / (y2 - y1) * (x2 - x1), 0.0), WIDTH))
    crossings.sort()
    return sum(right - left for left, right in zip(crossings[::2], crossings[1::2], strict=True)) * (
        high - low
    )
