"""Bounding boxes of shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, hypot, radians, sin
from typing import Any, TypeAlias

__all__ = ["WITHOUT_AREA", "BoundingBox", "area", "bounding_box", "box_around", "common_box"]

BoundingBox: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

WITHOUT_AREA = frozenset({"points", "polyline"})
"""The types of shapes that have no area."""


def bounding_box(shape: Mapping[str, Any]) -> BoundingBox:
    """Compute the bounding box of a shape.

    The box of a skeleton contains the elements that are not outside, or all of them if all are outside.

    Args:
        shape: The shape, as the server's JSON object.

    Returns:
        Left, top, right, bottom, in pixels.

    Raises:
        ValueError: The shape has the wrong number of points.
    """
    points: Sequence[float] = shape.get("points") or ()
    kind = shape["type"]
    if kind == "rectangle" and not shape.get("rotation"):
        left, top, right, bottom = points
        if left <= right and top <= bottom:
            return left, top, right, bottom
    if kind == "mask":
        left, top, right, bottom = points[-4:]
        return left, top, right + 1, bottom + 1
    if kind == "skeleton":
        elements = shape["elements"]
        visible = [element for element in elements if not element.get("outside")] or elements
        points = [number for element in visible for number in element["points"]]
    if kind == "ellipse":
        center_x, center_y, right, top = points
        semi_x, semi_y = right - center_x, center_y - top
        angle = radians(shape.get("rotation") or 0.0)
        half_width = hypot(semi_x * cos(angle), semi_y * sin(angle))
        half_height = hypot(semi_x * sin(angle), semi_y * cos(angle))
        return box_around(center_x, center_y, 2 * half_width, 2 * half_height)
    xs, ys = points[::2], points[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    if kind == "rectangle" and shape.get("rotation"):
        angle = radians(shape["rotation"])
        width, height = right - left, bottom - top
        return box_around(
            (left + right) / 2,
            (top + bottom) / 2,
            width * abs(cos(angle)) + height * abs(sin(angle)),
            width * abs(sin(angle)) + height * abs(cos(angle)),
        )
    return left, top, right, bottom


def box_around(x: float, y: float, width: float, height: float) -> BoundingBox:
    """The box of this size, in pixels, with its center at (x, y)."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def common_box(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    """The intersection of two boxes; if it is empty, its width or height is negative."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def area(box: tuple[float, ...]) -> float:
    """The area of a box, in square pixels; 0 for an empty intersection."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
