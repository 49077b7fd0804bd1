"""How much of an image two shapes have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, radians, sin
from typing import Any, TypeAlias

import numpy as np

from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clipping import is_empty
from prefect_cvat.geometry.coco import has_outline, segmentation_of

__all__ = ["BoundingBox", "Region", "area", "bounding_box", "common_box"]

Shape = Mapping[str, Any]

BoundingBox: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

_WITHOUT_AREA = frozenset({"points", "polyline"})


class Region:
    """What a shape covers of its frame, to be compared with other shapes of this frame.

    Where both have an outline (polygons, masks, ellipses, turned rectangles), these are compared pixel by
    pixel. An upright rectangle, a cuboid or a skeleton only says how far an object reaches; where one of the
    two is such, the boxes around both are compared. (A human's box around a person has little in common with
    the mask of that person, but much with the box around the mask.)

    Args:
        shape: The shape, as the server's JSON object. Of a skeleton the elements count that are not outside.
        frame: Its frame.

    Raises:
        InvalidResponseError: The shape is none.
    """

    __slots__ = ("_box", "_frame", "_run_lengths", "_shape")

    def __init__(self, shape: Shape, frame: Frame) -> None:
        self._shape = shape
        self._frame = frame
        self._run_lengths: Any = None
        self._box = (0.0, 0.0, 0.0, 0.0)
        kind = shape["type"]
        if kind in _WITHOUT_AREA or (kind == "skeleton" and not shape.get("elements")):
            return
        if kind == "mask" and is_empty(kind, shape["points"]):  # its box is of one pixel
            return
        try:
            self._box = bounding_box(shape)
        except (ValueError, IndexError) as error:
            raise self._unreadable(error) from None

    def iou(self, other: Region) -> float:
        """Intersection over union, 0 to 1; 0 with what has no area, such as points and polylines."""
        common = area(common_box(self._box, other._box))
        if not common:
            return 0.0
        if has_outline(self._shape) and has_outline(other._shape):
            from faster_coco_eval import mask  # imports OpenCV where there is one

            return float(mask.iou([self._encoded()], [other._encoded()], [0])[0, 0])
        return common / (area(self._box) + area(other._box) - common)

    def _encoded(self) -> Any:
        if self._run_lengths is None:
            from faster_coco_eval import mask

            try:
                found = segmentation_of(self._shape, self._frame)
            except (ValueError, IndexError) as error:
                raise self._unreadable(error) from None
            is_mask = isinstance(found, dict)
            self._run_lengths = (
                found if is_mask else mask.frPyObjects(found, self._frame.height, self._frame.width)[0]
            )
        return self._run_lengths

    def _unreadable(self, error: Exception) -> InvalidResponseError:
        name = f"{self._shape['type']} {self._shape.get('id', '')}"
        return InvalidResponseError(f"the {name} on {self._frame} cannot be read: {error}")


def common_box(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    """What two boxes have in common; its sides are negative where that is nothing."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def area(box: tuple[float, ...]) -> float:
    """How large a box is, in square pixels; 0 if its sides are negative."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def bounding_box(shape: Mapping[str, Any]) -> BoundingBox:
    """The box around a shape, in pixels: left, top, right, bottom.

    Of a skeleton it is that around the elements that are not outside, or around all if all are.
    """
    points: Sequence[float] = shape.get("points") or ()
    kind = shape["type"]
    if kind == "mask":
        left, top, right, bottom = points[-4:]
        return left, top, right + 1, bottom + 1
    if kind == "skeleton":
        elements = shape["elements"]
        shown = [element for element in elements if not element.get("outside")] or elements
        points = [number for element in shown for number in element["points"]]
    if kind == "ellipse":
        center_x, center_y, right, top = points
        half_width, half_height = right - center_x, center_y - top
        turn = radians(shape.get("rotation") or 0.0)
        reach_x = float(np.hypot(half_width * cos(turn), half_height * sin(turn)))
        reach_y = float(np.hypot(half_width * sin(turn), half_height * cos(turn)))
        return center_x - reach_x, center_y - reach_y, center_x + reach_x, center_y + reach_y
    xs, ys = points[::2], points[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    if kind == "rectangle" and shape.get("rotation"):
        turn = radians(shape["rotation"])
        width, height = right - left, bottom - top
        return box_around(
            (left + right) / 2,
            (top + bottom) / 2,
            width * abs(cos(turn)) + height * abs(sin(turn)),
            width * abs(sin(turn)) + height * abs(cos(turn)),
        )
    return left, top, right, bottom


def box_around(x: float, y: float, width: float, height: float) -> BoundingBox:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
