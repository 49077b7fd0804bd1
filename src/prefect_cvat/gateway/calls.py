"""The calls of functions, read from the bodies that CVAT 2.73 sends."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from prefect_cvat.gateway.descriptions import FunctionDescription
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.sent_images import SentImage
from prefect_cvat.inference.prompts import Prompts
from prefect_cvat.models import ShapeType

__all__ = ["Call", "DetectorCall", "InteractorCall", "ShapeToFollow", "TrackerCall", "read_call"]

MAX_OBJECTS = 10_000
"""Maximum number of points or shapes in a call."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DetectorCall:
    """Find objects; `threshold` is the confidence that the user asks for, or None."""

    image: SentImage
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class InteractorCall:
    """Find the object that the prompts point at."""

    image: SentImage
    prompts: Prompts


@dataclass(frozen=True, slots=True)
class ShapeToFollow:
    """A shape with which tracking begins; see `LabeledShapeRequest` for its points."""

    type: ShapeType
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrackerCall:
    """Begin to track `shapes`, or find those of `states` on the next image; one of them is empty."""

    image: SentImage
    shapes: Sequence[ShapeToFollow] = ()
    states: Sequence[str] = ()


Call = DetectorCall | InteractorCall | TrackerCall


def read_call(body: bytes, description: FunctionDescription) -> Call:
    """Read the body of a call.

    Args:
        body: JSON.
        description: The function that is called.

    Raises:
        Refusal: It is not what CVAT sends to a function of this kind.
    """
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "the call is not JSON") from None
    if not isinstance(fields, dict):
        raise Refusal(400, "the call is not a JSON object")
    image = SentImage(fields.get("image"))
    if description.kind == "detector":
        return DetectorCall(image, _threshold(fields.get("threshold")))
    if description.kind == "interactor":
        return InteractorCall(image, _prompts(fields, description))
    return _tracker_call(fields, image, description)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _threshold(value: Any) -> float | None:
    if not value:  # CVAT leaves out 0
        return None
    if not _is_number(value) or not 0 <= value <= 1:
        raise Refusal(400, "threshold must be a number from 0 to 1")
    return float(value)


def _prompts(fields: dict[str, Any], description: FunctionDescription) -> Prompts:
    if fields.get("text_prompts"):
        raise Refusal(400, "the function takes no text prompts")
    positive = _points(fields.get("pos_points"), "pos_points")
    negative = _points(fields.get("neg_points"), "neg_points")
    corners = _points(fields.get("obj_bbox"), "obj_bbox")
    if len(corners) not in (0, 2):
        raise Refusal(400, "the function takes one box, of two corners")
    box = None
    if corners:
        (x1, y1), (x2, y2) = corners
        box = (min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))
    if box is not None and description.min_bounding_boxes is None:
        raise Refusal(400, "the function takes no box: click on the object")
    if box is None and description.min_bounding_boxes:
        raise Refusal(400, "the function needs a box around the object")
    if len(positive) < description.min_pos_points:
        raise Refusal(400, f"the function needs {description.min_pos_points} or more points on the object")
    if len(negative) < (description.min_neg_points or 0):
        raise Refusal(400, f"the function needs {description.min_neg_points} or more negative points")
    if negative and description.min_neg_points is None:
        raise Refusal(400, "the function takes no negative points")
    return Prompts(positive, box, neg_points=negative)


def _tracker_call(fields: dict[str, Any], image: SentImage, description: FunctionDescription) -> TrackerCall:
    states = fields.get("states") or []
    if not _is_list(states):
        raise Refusal(400, "states must be a list")
    if states:
        return TrackerCall(image, states=[state if isinstance(state, str) else "" for state in states])
    shapes = fields.get("shapes") or []
    if not _is_list(shapes) or not all(isinstance(shape, dict) for shape in shapes):
        raise Refusal(400, "shapes must be a list of shapes with type and points")
    return TrackerCall(image, [_shape(shape, description) for shape in shapes])


def _shape(shape: dict[str, Any], description: FunctionDescription) -> ShapeToFollow:
    shape_type, points = shape.get("type"), shape.get("points")
    if shape_type not in description.shape_types:
        raise Refusal(
            400,
            f"the function follows {', '.join(description.shape_types)}, not shapes of type {shape_type!r}",
        )
    if not isinstance(points, list) or not all(map(_is_number, points)):
        raise Refusal(400, f"the points of a {shape_type} must be a list of numbers")
    is_enough = len(points) == 4 if shape_type in ("rectangle", "ellipse") else len(points) >= 2
    if not is_enough:
        raise Refusal(400, f"a {shape_type} has {len(points)} numbers in its points")
    return ShapeToFollow(ShapeType(shape_type), tuple(map(float, points)))


def _points(value: Any, name: str) -> list[Point]:
    points = value or []
    if not _is_list(points) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in points
    ):
        raise Refusal(400, f"{name} must be a list of points [x, y]")
    return [(float(x), float(y)) for x, y in points]


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_OBJECTS


def _is_number(value: Any) -> bool:
    # 1e400 is infinite; a long whole number may be no float at all
    return type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value)
