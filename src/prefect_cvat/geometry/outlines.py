"""Outlines of shapes, as polygons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["WITH_AREA", "corners_of", "has_outline"]

WITH_AREA = frozenset({"rectangle", "polygon", "mask", "ellipse", "cuboid"})
"""The types of shapes that have an area."""

ELLIPSE_CORNERS = 72
"""Corners of the polygon that approximates an ellipse. Its area is 0.1 % less than that of the ellipse."""


def has_outline(shape: Mapping[str, Any]) -> bool:
    """Whether the outline of a shape is known, and not only its bounding box."""
    return shape["type"] in ("polygon", "mask", "ellipse") or bool(
        shape["type"] == "rectangle" and shape.get("rotation")
    )


def corners_of(shape: Mapping[str, Any]) -> list[float]:
    """The corners of a shape's outline.

    Args:
        shape: A shape with an area that is not a mask, as the server's JSON object.

    Returns:
        `[x1, y1, x2, y2, ...]`, in pixels; `ELLIPSE_CORNERS` corners for an ellipse.

    Raises:
        ValueError: A rectangle or an ellipse does not have four numbers.
    """
    points = shape["points"]
    rotation = shape.get("rotation") or 0.0
    if shape["type"] == "ellipse":
        center_x, center_y, right, top = points
        angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
        xs, ys = (right - center_x) * np.cos(angles), (center_y - top) * np.sin(angles)
    elif shape["type"] == "rectangle":
        x1, y1, x2, y2 = points
        if not rotation:
            return [x1, y1, x2, y1, x2, y2, x1, y2]
        center_x, center_y = (x1 + x2) / 2, (y1 + y2) / 2
        xs, ys = np.array([x1, x2, x2, x1]) - center_x, np.array([y1, y1, y2, y2]) - center_y
    else:
        return list(points)
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    rotated = np.stack([center_x + xs * cos - ys * sin, center_y + xs * sin + ys * cos], axis=1)
    corners: list[float] = rotated.ravel().tolist()
    return corners
