"""Converts existing shapes to prompts for an interaction function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.auto_annotation.interface import InteractionFunctionContext, InteractionPrompts
from prefect_cvat.geometry.clip_at_image_edge import clip_point

__all__ = ["InteractionContext", "Prompts", "prompts_of"]

Point = tuple[float, float]


class InteractionContext(InteractionFunctionContext):
    """The run, for the function."""

    __slots__ = ()


class Prompts(InteractionPrompts):
    """Prompts in pixels: those of one shape, which has no negative points, or those of a user."""

    __slots__ = ("_bounding_box", "_neg_points", "_pos_points")

    def __init__(
        self,
        pos_points: Sequence[Point] = (),
        bounding_box: tuple[Point, Point] | None = None,
        *,
        neg_points: Sequence[Point] = (),
    ) -> None:
        self._pos_points = tuple(pos_points)
        self._neg_points = tuple(neg_points)
        self._bounding_box = bounding_box

    @property
    def pos_points(self) -> Sequence[Point]:
        """Points on the object, as (x, y)."""
        return self._pos_points

    @property
    def neg_points(self) -> Sequence[Point]:
        """Points that are not on the object, as (x, y)."""
        return self._neg_points

    @property
    def bounding_box(self) -> tuple[Point, Point] | None:
        """A box around the object, upper left and lower right corner as (x, y), or None."""
        return self._bounding_box


def prompts_of(
    shape: Mapping[str, Any], size: tuple[int, int], *, min_pos_points: int, takes_boxes: bool
) -> Prompts | None:
    """Turn a shape into prompts within its image.

    Args:
        shape: A rectangle or points, as the server's JSON object.
        size: Width and height of the image in pixels.
        min_pos_points: Minimum number of positive points of the function.
        takes_boxes: Whether the function takes bounding boxes.

    Returns:
        The prompts; None if the image contains less of the shape than the function needs.
    """
    width, height = size
    xs, ys = shape["points"][0::2], shape["points"][1::2]
    if shape["type"] == "points":
        inside = [
            (float(x), float(y)) for x, y in zip(xs, ys, strict=True) if 0 <= x <= width and 0 <= y <= height
        ]
        return Prompts(inside) if len(inside) >= max(1, min_pos_points) else None
    left, top, right, bottom = _box_around(shape)
    left, top = clip_point(left, top, width, height)
    right, bottom = clip_point(right, bottom, width, height)
    if right <= left or bottom <= top:
        return None
    needs_point = min_pos_points > 0 or not takes_boxes
    centre = [((left + right) / 2, (top + bottom) / 2)] if needs_point else []
    return Prompts(centre, ((left, top), (right, bottom)) if takes_boxes else None)


def _box_around(rectangle: Mapping[str, Any]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = rectangle["points"]
    angle = math.radians(rectangle.get("rotation") or 0.0)
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    width, height = abs(x2 - x1), abs(y2 - y1)
    reach_x, reach_y = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - reach_x, y - reach_y, x + reach_x, y + reach_y
