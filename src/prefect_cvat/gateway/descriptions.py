"""What the list of functions says of a function: its kind, and its labels, prompts or shape types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_cvat.auto_annotation.function_calls import (
    check_sees_single_images,
    place_of,
    read_labels,
    read_spec,
)
from prefect_cvat.auto_annotation.interface import DetectionFunctionSpec
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.models import PatchedLabelRequest, ShapeType, enum_value

__all__ = ["ERROR", "FunctionDescription", "FunctionKind", "describe"]

FunctionKind = Literal["detector", "interactor", "tracker"]
"""The kinds of functions in CVAT's words."""

ERROR = "error: "
"""What the text of an error begins with; that of a description begins with `{`."""


class FunctionDescription(BaseModel):
    """The spec of a function, as JSON: kept on disk, so that no model is loaded to list functions.

    Attributes:
        kind: Its kind.
        labels: The labels of a detector.
        min_pos_points: See `InteractionFunctionSpec`.
        min_neg_points: See `InteractionFunctionSpec`.
        min_bounding_boxes: See `InteractionFunctionSpec`.
        shape_types: The shapes that a tracker follows, in CVAT's words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FunctionKind
    labels: tuple[PatchedLabelRequest, ...] = ()
    min_pos_points: int = 1
    min_neg_points: int | None = None
    min_bounding_boxes: int | None = None
    shape_types: tuple[ShapeType, ...] = ()


def describe(function: Any) -> FunctionDescription:
    """Describe a function by its spec.

    Raises:
        BadFunctionError: It has no spec, or an invalid one; or it needs a video, and gets single images here.
    """
    spec = read_spec(function, "an auto-annotation function")
    try:
        if hasattr(spec, "supported_shape_types"):
            types = spec.supported_shape_types
            if isinstance(types, str) or not isinstance(types, Iterable):
                raise BadFunctionError(f"supported_shape_types must be a set of shape types, not {types!r}")
            names = sorted(map(enum_value, types))
            return FunctionDescription.model_validate({"kind": "tracker", "shape_types": names})
        if hasattr(spec, "min_pos_points"):
            return FunctionDescription(
                kind="interactor",
                min_pos_points=spec.min_pos_points,
                min_neg_points=getattr(spec, "min_neg_points", None),
                min_bounding_boxes=getattr(spec, "min_bounding_boxes", None),
            )
        check_sees_single_images(function)
        labels = tuple(PatchedLabelRequest.model_validate(each) for each in read_labels(function))
        DetectionFunctionSpec(labels=labels)  # unique ids; attributes with valid values
        _check_unique_names(labels)
        return FunctionDescription(kind="detector", labels=labels)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadFunctionError(
            f"the spec of {type(function).__name__!r} has a bad {where}: {one_line(problem['msg'])}"
            f" ({place_of(function)})"
        ) from error


def _check_unique_names(labels: Iterable[PatchedLabelRequest]) -> None:
    """CVAT 2.73 leaves out a function with two labels of one name, without an error."""
    seen = set()
    for label in labels:
        if label.name in seen:
            raise BadFunctionError(f"the spec has two labels named {label.name!r}; CVAT does not list it")
        seen.add(label.name)
