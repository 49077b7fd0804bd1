"""Validates the coordinates of shapes.

CVAT 2.73 accepts invalid shapes, such as masks whose run lengths do not fill their box, or coordinates of
1e308.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import ShapeType, SubLabeledShapeRequest

__all__ = ["check_geometry", "within_rounding"]

AnyShape = TypeVar("AnyShape", bound=SubLabeledShapeRequest)

_FARTHEST = 1e9
"""Maximum absolute coordinate in pixels; greater ones come from a numerical error."""

_SCORE_ERROR = 1e-6
"""Maximum rounding error of a 32-bit score; its resolution at 1 is 1.2e-7."""

_MAX_MASK_PIXELS = 1e9
"""Maximum number of pixels of a mask's box."""

_COUNTS: dict[ShapeType, Callable[[int], bool]] = {
    ShapeType.RECTANGLE: lambda n: n == 4,
    ShapeType.ELLIPSE: lambda n: n == 4,
    ShapeType.CUBOID: lambda n: n == 16,
    ShapeType.POLYGON: lambda n: n >= 6 and n % 2 == 0,
    ShapeType.POLYLINE: lambda n: n >= 4 and n % 2 == 0,
    ShapeType.POINTS: lambda n: n >= 2 and n % 2 == 0,
    ShapeType.MASK: lambda n: n >= 5,
    ShapeType.SKELETON: lambda n: n == 0,
}


def check_geometry(shape: AnyShape) -> AnyShape:
    """Check that coordinates, rotation and score of a shape are valid, for an image of any size.

    Returns:
        The shape, or a copy with the rotation reduced to [0, 360) degrees and the score clipped to [0, 1] if
        it was off by rounding only.

    Raises:
        BadFunctionError: The shape is invalid; the message says why.
    """
    points = shape.points
    is_enough = _COUNTS.get(shape.type)
    if is_enough is None:
        raise BadFunctionError(
            f"function output shape of unknown type {shape.type!r}; the types are {', '.join(_COUNTS)}"
        )
    if not is_enough(len(points)):
        raise BadFunctionError(f"function output {shape.type.value} with {len(points)} numbers in its points")
    # fast path: the sum bounds each coordinate; NaN compares false
    if not sum(map(abs, points)) <= _FARTHEST:
        _check_coordinates(shape.type.value, points)
    if shape.type is ShapeType.MASK:
        _check_mask(points)
    score = shape.score
    if 0 <= shape.rotation < 360 and (score is None or 0 <= score <= 1):
        return shape
    return shape.model_copy(update={"rotation": _within_a_turn(shape), "score": _within_0_to_1(shape)})


def within_rounding(score: float) -> float | None:
    """Clip a score to [0, 1] if it is off by rounding only; None if it is off by more."""
    if not -_SCORE_ERROR <= score <= 1 + _SCORE_ERROR:
        return None
    return min(max(score, 0.0), 1.0)


def _within_a_turn(shape: SubLabeledShapeRequest) -> float:
    if not math.isfinite(shape.rotation):
        raise BadFunctionError(
            f"function output {shape.type.value} with rotation {shape.rotation} (expected degrees)"
        )
    return shape.rotation % 360 % 360  # a tiny negative angle gives 360 after the first modulo


def _within_0_to_1(shape: SubLabeledShapeRequest) -> float | None:
    if shape.score is None:
        return None
    score = within_rounding(shape.score)
    if score is None:
        raise BadFunctionError(
            f"function output {shape.type.value} with score {shape.score} (expected 0 to 1)"
        )
    return score


def _check_coordinates(name: str, points: Sequence[float]) -> None:
    if not all(map(math.isfinite, points)):
        shown = f"{points[:20]}" if len(points) <= 20 else f"{points[:20]} and {len(points) - 20} more"
        raise BadFunctionError(f"function output {name} with coordinates that are not finite: {shown}")
    farthest = max(points, key=abs)
    if abs(farthest) > _FARTHEST:
        raise BadFunctionError(f"function output {name} with a coordinate out of range ({farthest:g})")


def _check_mask(points: Sequence[float]) -> None:
    if any(not number.is_integer() for number in points):
        raise BadFunctionError("function output mask with numbers that are not integers")
    *runs, left, top, right, bottom = points
    if right < left or bottom < top:
        raise BadFunctionError(f"function output mask with an empty box ({left}, {top}, {right}, {bottom})")
    area = (right - left + 1) * (bottom - top + 1)
    if area > _MAX_MASK_PIXELS:
        raise BadFunctionError(f"function output mask with a box of {area:g} pixels, which is too large")
    if min(runs) < 0 or sum(runs) != area:
        raise BadFunctionError(
            f"function output mask whose run lengths sum up to {sum(runs):.0f},"
            f" but whose box has {pluralize(int(area), 'pixel')}; make its points with"
            " prefect_cvat.masks.encode_mask(array)"
        )
