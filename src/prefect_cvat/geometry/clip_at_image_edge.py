"""Clips shapes at the edges of their image.

CVAT stores coordinates outside the image, too. Models often return coordinates slightly outside, and nobody
can see or correct that part of a shape.

Polygons are not clipped with shapely: its result depends on valid input, and about one in eight outlines that
`cv2.findContours` makes of a mask touches itself (docs/architecture.md has the measurements).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from operator import itemgetter

import numpy as np

from prefect_cvat.geometry.outlines import corners_of
from prefect_cvat.masks import decode_mask, encode_mask
from prefect_cvat.models import LabeledShapeRequest, ShapeType, SubLabeledShapeRequest

__all__ = ["Clipping", "clip_keypoint", "clip_point", "clip_shape", "is_empty"]

Point = tuple[float, float]

_TOLERANCE = 1e-6
"""Pixels. A polygon narrower than this has no area."""


class Clipping(StrEnum):
    """How a shape was changed, or why it was dropped."""

    REORDERED = "corners reordered"
    CUT = "clipped at the edge"
    OUTSIDE = "outside the image"
    EMPTY = "empty"


def clip_shape(
    shape: LabeledShapeRequest, width: int, height: int
) -> tuple[Sequence[list[float]], Clipping | None]:
    """Clip a shape at the edges of its image.

    Rectangles, polygons, polylines and masks are clipped. Points outside the image are removed. Rotated
    rectangles, ellipses and cuboids cannot be clipped: they are kept unless they are completely outside.
    (CVAT's user interface does not move these either: `fitPoints` in cvat-core.) The corners of rectangles
    and ellipses are reordered if necessary. Skeletons are returned unchanged.

    A polygon or polyline that the edge cuts into parts becomes several shapes: a polygon of CVAT has one
    outline, and parts joined along the edge would make an outline that overlaps itself. A simple polygon
    (one that does not cross itself) gives simple polygons.

    Args:
        shape: A shape whose geometry has been checked.
        width: The width of the image, in pixels.
        height: The height of the image, in pixels.

    Returns:
        The points of each part, the largest part first (no part if the shape is outside or empty), and how
        the shape was changed (None if it is unchanged).
    """
    points = shape.points
    if shape.type is ShapeType.RECTANGLE and not shape.rotation:  # the fast path: nearly all shapes
        x1, y1, x2, y2 = points
        if 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height:
            return (points,), None
    if shape.type is ShapeType.SKELETON:
        return (points,), None
    if is_empty(shape.type, points):
        return (), Clipping.EMPTY
    match shape.type:
        case ShapeType.MASK:
            return _clip_mask(points, width, height)
        case ShapeType.RECTANGLE if not shape.rotation:
            return _clip_rectangle(points, width, height)
        case ShapeType.RECTANGLE | ShapeType.ELLIPSE:
            return _keep_if_inside(shape, width, height)
    xs, ys = points[0::2], points[1::2]
    if min(xs) >= 0 and max(xs) <= width and min(ys) >= 0 and max(ys) <= height:
        return (points,), None
    corners = list(zip(xs, ys, strict=True))
    match shape.type:
        case ShapeType.POLYGON:
            parts = _cut_polygon(corners, width, height)
        case ShapeType.POLYLINE:
            parts = _cut_polyline(corners, width, height)
        case ShapeType.CUBOID:
            is_inside = min(xs) < width and max(xs) > 0 and min(ys) < height and max(ys) > 0
            return ((points,), None) if is_inside else ((), Clipping.OUTSIDE)
        case _:
            inside = [(x, y) for x, y in corners if 0 <= x <= width and 0 <= y <= height]
            parts = [inside] if inside else []
    flat = [[number for corner in part for number in clip_point(*corner, width, height)] for part in parts]
    return flat, Clipping.CUT if flat else Clipping.OUTSIDE


def clip_point(x: float, y: float, width: int, height: int) -> Point:
    """The nearest point within the image, in pixels."""
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))


def clip_keypoint(keypoint: SubLabeledShapeRequest, width: int, height: int) -> tuple[list[float], bool]:
    """Move a keypoint of a skeleton to the border of the image, if it is beyond.

    Returns:
        Its points in pixels; and whether it is outside, by itself or since it was moved.
    """
    xs, ys = keypoint.points[0::2], keypoint.points[1::2]
    points = [number for x, y in zip(xs, ys, strict=True) for number in clip_point(x, y, width, height)]
    return points, keypoint.outside or points != keypoint.points


def is_empty(shape_type: str, points: Sequence[float]) -> bool:
    """Whether a shape is invisible, such as a rectangle without area or a mask without pixels.

    Args:
        shape_type: One of `ShapeType`, but not `skeleton`. Sets of points are never empty.
        points: As in `LabeledShapeRequest`. A shape with too few points is invalid, not empty.
    """
    if shape_type == ShapeType.RECTANGLE and len(points) == 4:  # by far the most frequent
        return points[0] == points[2] or points[1] == points[3]
    if shape_type == ShapeType.MASK:
        return len(points) > 4 and not any(points[1:-4:2])
    if shape_type == ShapeType.POINTS or len(points) < 4:
        return False
    xs, ys = points[0::2], points[1::2]
    is_narrow, is_low = min(xs) == max(xs), min(ys) == max(ys)
    if shape_type == ShapeType.POLYLINE:
        return is_narrow and is_low
    if shape_type == ShapeType.POLYGON:
        return not _has_area(list(zip(xs, ys, strict=False)))
    return is_narrow or is_low


def _clip_rectangle(
    points: Sequence[float], width: int, height: int
) -> tuple[Sequence[list[float]], Clipping | None]:
    ordered = _in_order(points)
    left, top = clip_point(ordered[0], ordered[1], width, height)
    right, bottom = clip_point(ordered[2], ordered[3], width, height)
    if right <= left or bottom <= top:
        return (), Clipping.OUTSIDE
    cut = [left, top, right, bottom]
    return (cut,), Clipping.REORDERED if cut == ordered else Clipping.CUT


def _clip_mask(points: list[float], width: int, height: int) -> tuple[Sequence[list[float]], Clipping | None]:
    left, top, right, bottom = map(int, points[-4:])
    if left >= 0 and top >= 0 and right < width and bottom < height:
        return (points,), None
    if left >= width or top >= height or right < 0 or bottom < 0:
        return (), Clipping.OUTSIDE
    shifted = [*points[:-4], 0, 0, right - left, bottom - top]
    bitmap = decode_mask(shifted, image_width=right - left + 1, image_height=bottom - top + 1)
    visible = bitmap[max(0, -top) : height - top, max(0, -left) : width - left]
    if not visible.any():
        return (), Clipping.OUTSIDE
    canvas = np.zeros((min(height, bottom + 1), min(width, right + 1)), dtype=bool)
    canvas[max(0, top) :, max(0, left) :] = visible
    return ([float(number) for number in encode_mask(canvas)],), Clipping.CUT


def _keep_if_inside(
    shape: LabeledShapeRequest, width: int, height: int
) -> tuple[Sequence[list[float]], Clipping | None]:
    """A rotated rectangle or an ellipse with its corners in order, or nothing if it is outside."""
    is_ellipse = shape.type is ShapeType.ELLIPSE
    a, b, c, d = shape.points
    ordered = [a, b, a + abs(c - a), b - abs(d - b)] if is_ellipse else _in_order(shape.points)
    x, y = (a, b) if is_ellipse else ((a + c) / 2, (b + d) / 2)
    if not (0 < x < width and 0 < y < height):
        outline = corners_of({"type": shape.type, "points": ordered, "rotation": shape.rotation})
        if not _cut_polygon(list(zip(outline[0::2], outline[1::2], strict=True)), width, height):
            return (), Clipping.OUTSIDE
    is_ordered = c >= a and (d <= b if is_ellipse else d >= b)
    return ((shape.points,), None) if is_ordered else ((ordered,), Clipping.REORDERED)


def _in_order(rectangle: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = rectangle
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _cut_polyline(line: Sequence[Point], width: int, height: int) -> list[list[Point]]:
    """The parts of a polyline inside the image, the longest first."""
    parts: list[list[Point]] = []
    for start, end in pairwise(line):
        first, last = _visible_span(start, end, width, height)
        if first >= last:
            continue
        (x, y), dx, dy = start, end[0] - start[0], end[1] - start[1]
        if first > 0 or not parts or parts[-1][-1] != start:
            parts.append([(x + first * dx, y + first * dy)])
        parts[-1].append(end if last == 1 else (x + last * dx, y + last * dy))
    return sorted(parts, key=lambda part: sum(math.dist(*ends) for ends in pairwise(part)), reverse=True)


def _visible_span(start: Point, end: Point, width: int, height: int) -> tuple[float, float]:
    """The part of a line that is inside the image, as fractions from 0 to 1 (Liang and Barsky, 1984)."""
    first, last = 0.0, 1.0
    for begin, step, edge in (
        (start[0], end[0] - start[0], width),
        (start[1], end[1] - start[1], height),
    ):
        if step == 0:
            if not 0 <= begin <= edge:
                return 1.0, 0.0
        else:
            enter, leave = sorted((-begin / step, (edge - begin) / step))
            first, last = max(first, enter), min(last, leave)
    return first, last


def _cut_polygon(polygon: list[Point], width: int, height: int) -> list[list[Point]]:
    """The parts of a polygon inside the image, the largest first."""
    parts = [polygon]
    for axis, edge, sign in ((0, 0.0, 1), (0, float(width), -1), (1, 0.0, 1), (1, float(height), -1)):
        parts = [half for part in parts for half in _cut_at_line(part, axis, edge, sign)]
    distinct = [
        [corner for before, corner in pairwise([part[-1], *part]) if corner != before] for part in parts
    ]
    return sorted((part for part in distinct if _has_area(part)), key=_area, reverse=True)


def _cut_at_line(polygon: list[Point], axis: int, edge: float, sign: int) -> list[list[Point]]:
    """The parts of a polygon on one side of a line.

    The outline is split into runs of corners on this side. Along the line, the outline of a simple polygon
    alternately enters and leaves this side. So the first exit is connected to the first entry, the second to
    the second, and so on, and no two of these connections overlap.

    Args:
        polygon: Its corners.
        axis: 0 for the line x = edge, 1 for the line y = edge.
        edge: The position of the line, in pixels.
        sign: 1 to keep the side with greater coordinates, -1 to keep the other side.
    """
    distances = [sign * (corner[axis] - edge) for corner in polygon]
    if min(distances) >= 0:
        return [polygon]
    if max(distances) <= 0:
        return []
    begin = next(i for i in range(len(polygon)) if distances[i - 1] <= 0 < distances[i])
    runs: list[list[Point]] = []
    for i in range(begin, begin + len(polygon)):
        here = i % len(polygon)
        if (distances[here - 1] > 0) != (distances[here] > 0):
            crossing = _crossing(polygon[here - 1], polygon[here], axis, edge)
            if distances[here] > 0:
                runs.append([crossing])
            else:
                runs[-1].append(crossing)
        if distances[here] > 0:
            runs[-1].append(polygon[here])
    along = itemgetter(1 - axis)
    leaving = sorted(range(len(runs)), key=lambda run: along(runs[run][-1]))
    entering = sorted(range(len(runs)), key=lambda run: along(runs[run][0]))
    next_run = dict(zip(leaving, entering, strict=True))
    parts = []
    while next_run:
        first, run = next_run.popitem()
        while run != first:
            runs[first] += runs[run]
            run = next_run.pop(run)
        parts.append(runs[first])
    return parts


def _crossing(one: Point, other: Point, axis: int, edge: float) -> Point:
    """The intersection of the line between two points with an edge. The order of the points is irrelevant."""
    (x1, y1), (x2, y2) = sorted((one, other), key=lambda point: abs(point[axis] - edge))
    fraction = (edge - (x1, y1)[axis]) / ((x2, y2)[axis] - (x1, y1)[axis])
    return (edge, y1 + fraction * (y2 - y1)) if axis == 0 else (x1 + fraction * (x2 - x1), edge)


def _area(polygon: Sequence[Point]) -> float:
    x0, y0 = polygon[0]
    return (
        abs(sum((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) for (x1, y1), (x2, y2) in pairwise(polygon)))
        / 2
    )


def _has_area(polygon: Sequence[Point]) -> bool:
    """Whether the corners are not all on one line; areas of an outline that crosses itself cancel out."""
    if len(polygon) < 3:
        return False
    third = len(polygon) // 3
    if _area([polygon[0], polygon[third], polygon[2 * third]]) > 1:  # nearly all polygons
        return True
    start = polygon[0]
    end = max(polygon, key=lambda corner: math.dist(start, corner))
    length = math.dist(start, end)
    return any(2 * _area([start, end, corner]) > _TOLERANCE * length for corner in polygon)
