"""Checks that annotations from the server have the fields that other code relies on.

Annotations remain the server's own JSON objects, and are sent back unchanged. They are checked once, when
they are read, so later code need not expect missing fields or strings instead of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from prefect_cvat.frame_table import MAX_FRAMES
from prefect_cvat.models import FrameNumber, ObjectId

__all__ = ["annotation_error"]

Number = Annotated[float, AllowInfNan(False)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Attribute(_Fields):
    spec_id: ObjectId
    value: str


class _Annotation(_Fields):
    id: int | None = Field(default=None, gt=-(2**63), lt=2**63)
    label_id: ObjectId
    group: int | None = None
    source: str | None = None
    attributes: list[_Attribute] | None = None


class _Tag(_Annotation):
    frame: FrameNumber


class _Place(_Fields):
    type: str
    frame: FrameNumber
    points: list[Number] | None = None
    rotation: Number | None = None
    z_order: int | None = None


class _Element(_Annotation, _Place):
    score: Number = 1.0


class _Shape(_Element):
    elements: list[_Element] | None = None


class _Keyframe(_Place):
    attributes: list[_Attribute] | None = None


class _TrackElement(_Annotation):
    shapes: list[_Keyframe]


class _Track(_TrackElement):
    frame: FrameNumber
    elements: list[_TrackElement] | None = None


_LENGTHS = {"rectangle": 4, "ellipse": 4, "cuboid": 16}
"""The number of coordinates of a shape, by type."""

_MIN_LENGTHS = {"polygon": 6, "polyline": 4, "points": 2, "mask": 5}
"""The minimum number of coordinates, by type; a mask has run lengths and a bounding box."""

_plain_fields = itemgetter(
    *("id", "label_id", "frame", "group", "z_order", "rotation", "score", "source", "points")
)

_FIELDS: dict[str, TypeAdapter[Any]] = {
    "tags": TypeAdapter(_Tag),
    "shapes": TypeAdapter(_Shape),
    "tracks": TypeAdapter(_Track),
}


def annotation_error(kind: str, annotation: Mapping[str, Any]) -> str | None:
    """What is wrong with an annotation, or None.

    Args:
        kind: `tags`, `shapes` or `tracks`.
        annotation: The server's JSON object.
    """
    if kind == "shapes" and _is_plain_rectangle(annotation):
        return None
    try:
        _FIELDS[kind].validate_python(annotation)
    except ValidationError as error:
        problem = error.errors()[0]
        return f"{kind}.{'.'.join(map(str, problem['loc'])) or 'item'}: {problem['msg']}"
    if kind == "shapes":
        return _points_error(annotation)
    if kind == "tracks":
        for track in (annotation, *(annotation.get("elements") or ())):
            for shape in track["shapes"]:
                if (length := _points_error(shape)) is not None:
                    return length
    return None


def _is_plain_rectangle(shape: Mapping[str, Any]) -> bool:
    """Whether a shape is a valid rectangle without attributes; four times as fast as pydantic."""
    try:
        number, label, frame, group, z_order, rotation, score, source, (x1, y1, x2, y2) = _plain_fields(shape)
        total = x1 + y1 + x2 + y2 + rotation + score
    except (KeyError, TypeError, ValueError):
        return False
    return (
        shape.get("type") == "rectangle"
        and type(number) is type(label) is type(frame) is type(z_order) is int
        and 0 <= frame < MAX_FRAMES
        and 0 <= label < 2**63
        and abs(number) < 2**63
        and (group is None or type(group) is int)
        and (source is None or type(source) is str)
        and type(total) in (int, float)
        and total * 0 == 0  # neither NaN nor infinite
        and not shape.get("attributes")
        and not shape.get("elements")
    )


def _points_error(shape: Mapping[str, Any]) -> str | None:
    """What is wrong with the number of coordinates of a shape or its elements, or None."""
    shape_type = shape["type"]
    length = len(shape.get("points") or ())
    wanted = _LENGTHS.get(shape_type)
    if wanted is not None and length != wanted:
        return f"shapes.points: a {shape_type} has {wanted} numbers, not {length}"
    if length < (min_length := _MIN_LENGTHS.get(shape_type, 0)):
        return f"shapes.points: a {shape_type} has at least {min_length} numbers, not {length}"
    for element in shape.get("elements") or ():
        if (problem := _points_error(element)) is not None:
            return problem
    return None
