"""Checks of the results of an interaction function."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from prefect_cvat.auto_annotation.interface import InteractionResultAttributes
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.inference.coordinate_checks import check_geometry, within_rounding
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["checked_result", "confidence_of"]


def checked_result(output: Any) -> LabeledShapeRequest:
    """Convert a result to our own shape, with validated geometry.

    Raises:
        BadFunctionError: It is no shape, or an invalid one.
    """
    if not (hasattr(output, "type") and hasattr(output, "points")):
        raise BadFunctionError(
            f"function output an object of type {type(output).__name__!r} (expected 'InteractionResultShape')"
        )
    try:
        shape = LabeledShapeRequest(type=output.type, label_id=0, frame=0, points=output.points)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadFunctionError(f"function output shape with bad {where}: {problem['msg']}") from error
    if shape.type is ShapeType.SKELETON:
        raise BadFunctionError("function output a skeleton, which interaction functions do not support")
    return check_geometry(shape)


def confidence_of(output: Any) -> float | None:
    """The confidence among the attributes of a result, 0 to 1; None if it has none.

    Raises:
        BadFunctionError: It is not a number from 0 to 1.
    """
    attributes = output.attributes if hasattr(output, "attributes") else ()
    values = [value.value for value in attributes if value.spec_id == InteractionResultAttributes.CONFIDENCE]
    if not values:
        return None
    try:
        confidence = within_rounding(float(values[-1]))
    except (TypeError, ValueError):
        confidence = None
    if confidence is None:
        raise BadFunctionError(
            f"function output a confidence of {values[-1]!r} (expected a number from 0 to 1)"
        )
    return confidence
