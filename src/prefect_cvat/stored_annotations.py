"""What a server says is in a job, checked: annotations stay dicts, and their fields are those of CVAT.

Only what this package reads is checked, one annotation at a time and without a copy: a job may have millions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_cvat.counted import counted
from prefect_cvat.exceptions import InvalidResponseError

__all__ = ["check_stored"]

_NUMBERS = frozenset({int, float})
_LENGTHS = {"rectangle": 4, "ellipse": 4, "cuboid": 16}
"""How many numbers the points of a shape of this type are."""
_LEAST_LENGTHS = {"polygon": 6, "polyline": 4, "points": 2, "mask": 5}
"""How many they are at least; a mask has its runs and its box."""


def check_stored(kind: str, annotation: Any, where: str) -> None:
    """Check an annotation that a server says it has.

    Args:
        kind: `tags`, `shapes` or `tracks`.
        annotation: What the server says.
        where: What was asked for, such as `annotations of job 7`.

    Raises:
        InvalidResponseError: It is not an annotation as CVAT has them; the message names the field.
    """
    problem = _problem_of(kind, annotation)
    if problem:
        raise InvalidResponseError(
            f"{where}: {_name_of(kind, annotation)} {problem}; this is not what CVAT sends"
        )


def _problem_of(kind: str, annotation: Any) -> str | None:
    if type(annotation) is not dict:
        return "is not an object"
    if type(annotation.get("id")) is not int:
        return "is without an id"
    if type(annotation.get("label_id")) is not int:
        return "has no label_id"
    if not _is_frame(annotation.get("frame")):
        return "has no frame"
    if kind == "shapes":
        return _shape_problem(annotation) or _each(annotation, "elements", _element_problem)
    if kind == "tracks":
        return _track_problem(annotation) or _each(annotation, "elements", _track_problem)
    return None


def _shape_problem(shape: Mapping[str, Any]) -> str | None:
    kind, points = shape.get("type"), shape.get("points")
    if type(kind) is not str:
        return "has no type"
    if points is None and kind == "skeleton":
        return None
    if type(points) is not list or not _NUMBERS.issuperset(map(type, points)):
        return "has points that are not a list of numbers"
    length = _LENGTHS.get(kind)
    if length is not None and len(points) != length:
        return f"is a {kind} of {counted(len(points), 'number')} where {length} were expected"
    if len(points) < _LEAST_LENGTHS.get(kind, 0):
        held = counted(len(points), "number")
        return f"is a {kind} of {held} where at least {_LEAST_LENGTHS[kind]} were expected"
    return None


def _element_problem(element: Mapping[str, Any]) -> str | None:
    if type(element.get("label_id")) is not int:
        return "has an element without a label_id"
    return _shape_problem(element)


def _track_problem(track: Mapping[str, Any]) -> str | None:
    return _each(track, "shapes", _keyframe_problem)


def _keyframe_problem(shape: Mapping[str, Any]) -> str | None:
    if not _is_frame(shape.get("frame")):
        return "has a shape without a frame"
    return _shape_problem(shape)


def _each(annotation: Mapping[str, Any], field: str, problem_of: Any) -> str | None:
    """The first problem of what is in a field, which may be missing."""
    parts = annotation.get(field)
    if parts is None:
        return None
    if type(parts) is not list:
        return f"has {field} that are not a list"
    for part in parts:
        if type(part) is not dict:
            return f"has {field} that are not objects"
        if problem := problem_of(part):
            return str(problem)
    return None


def _is_frame(frame: Any) -> bool:
    return type(frame) is int and frame >= 0


def _name_of(kind: str, annotation: Any) -> str:
    name = kind.removesuffix("s")
    number = annotation.get("id") if isinstance(annotation, dict) else None
    return f"{name} {number}" if type(number) is int else f"a {name}"
