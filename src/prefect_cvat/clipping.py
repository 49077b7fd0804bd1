"""Cutting shapes at the edges of their image.

CVAT stores whatever coordinates it gets. A model may well point a little outside the image; what is
outside cannot be seen or corrected by anybody.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from prefect_cvat.masks import decode_mask, encode_mask
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["clip_shape"]


def clip_shape(shape: LabeledShapeRequest, width: int, height: int) -> tuple[list[float] | None, bool]:
    """Cut a shape at the edges of its image.

    Rectangles, polygons and masks are cut; polylines and cuboids have their points moved to the edge;
    sets of points lose those that are outside. What is turned or round (rotated rectangles, ellipses)
    cannot be cut and stay, unless they lie outside altogether. Skeletons have points of their own only
    in their elements, see `clip_point`.

    Args:
        shape: A shape whose geometry has been checked.
        width: Pixels of the image.
        height: Pixels of the image.

    Returns:
        Its points, or None if nothing of it is inside; and whether that differs from what came in.
    """
    points = shape.points
    if shape.type is ShapeType.RECTANGLE and not shape.rotation:  # nearly all shapes: keep this short
        x1, y1, x2, y2 = points
        if 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height:
            return points, False
        return _clip_rectangle(x1, y1, x2, y2, width, height)
    if shape.type is ShapeType.MASK:
        return _clip_mask(points, width, height)
    if shape.type in (ShapeType.RECTANGLE, ShapeType.ELLIPSE):
        inside = _reaches_inside(shape, width, height)
        return (points, False) if inside else (None, True)
    xs, ys = points[0::2], points[1::2]
    if not points or (min(xs) >= 0 and max(xs) <= width and min(ys) >= 0 and max(ys) <= height):
        return points, False
    match shape.type:
        case ShapeType.POLYGON:
            return _clip_polygon(list(zip(xs, ys, strict=True)), width, height), True
        case ShapeType.POINTS:
            kept = [
                value
                for x, y in zip(xs, ys, strict=True)
                if 0 <= x <= width and 0 <= y <= height
                for value in (x, y)
            ]
            return kept or None, True
        case _:
            moved = [value for x, y in zip(xs, ys, strict=True) for value in clip_point(x, y, width, height)]
            is_somewhere = len(set(moved[0::2])) > 1 or len(set(moved[1::2])) > 1
            return (moved if is_somewhere else None), True


def clip_point(x: float, y: float, width: int, height: int) -> tuple[float, float]:
    """The point of the image that is nearest to a point."""
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))


def _clip_rectangle(
    x1: float, y1: float, x2: float, y2: float, width: int, height: int
) -> tuple[list[float] | None, bool]:
    left, top = clip_point(min(x1, x2), min(y1, y2), width, height)
    right, bottom = clip_point(max(x1, x2), max(y1, y2), width, height)
    if right <= left or bottom <= top:
        return None, True
    return [left, top, right, bottom], True


def _clip_mask(points: list[float], width: int, height: int) -> tuple[list[float] | None, bool]:
    left, top, right, bottom = map(int, points[-4:])
    if left >= 0 and top >= 0 and right < width and bottom < height:
        return points, False
    if left >= width or top >= height or right < 0 or bottom < 0:
        return None, True
    shifted = [*points[:-4], 0, 0, right - left, bottom - top]
    bitmap = decode_mask(shifted, image_width=right - left + 1, image_height=bottom - top + 1)
    visible = bitmap[max(0, -top) : height - top, max(0, -left) : width - left]
    if not visible.any():
        return None, True
    canvas = np.zeros((min(height, bottom + 1), min(width, right + 1)), dtype=bool)
    canvas[max(0, top) :, max(0, left) :] = visible
    return [float(number) for number in encode_mask(canvas)], True


def _reaches_inside(shape: LabeledShapeRequest, width: int, height: int) -> bool:
    """Whether the circle around a turned rectangle or an ellipse touches the image."""
    a, b, c, d = shape.points
    if shape.type is ShapeType.ELLIPSE:
        x, y, radius = a, b, max(abs(c - a), abs(b - d))
    else:
        x, y, radius = (a + c) / 2, (b + d) / 2, math.hypot(c - a, d - b) / 2
    nearest_x, nearest_y = clip_point(x, y, width, height)
    return math.hypot(x - nearest_x, y - nearest_y) < radius


Point = tuple[float, float]


def _clip_polygon(polygon: list[Point], width: int, height: int) -> list[float] | None:
    """Cut a polygon at the four edges in turn (Sutherland and Hodgman, 1974)."""
    edges: list[tuple[Callable[[Point], float], int, float]] = [
        (lambda p: p[0], 0, 0.0),
        (lambda p: width - p[0], 0, float(width)),
        (lambda p: p[1], 1, 0.0),
        (lambda p: height - p[1], 1, float(height)),
    ]
    for distance, axis, edge in edges:
        result: list[Point] = []
        for start, end in zip([polygon[-1], *polygon[:-1]], polygon, strict=True) if polygon else ():
            d_start, d_end = distance(start), distance(end)
            if (d_start >= 0) != (d_end >= 0):
                t = d_start / (d_start - d_end)
                x, y = start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])
                result.append((edge, y) if axis == 0 else (x, edge))
            if d_end >= 0:
                result.append(end)
        polygon = result
    area = sum(
        x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    )
    if len(polygon) < 3 or abs(area) < 1e-6:
        return None
    return [coordinate for point in polygon for coordinate in point]
