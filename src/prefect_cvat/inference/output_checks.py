"""What a function returned, held against its spec and against what CVAT can store.

CVAT 2.73 stores much that it should refuse: mask run lengths that do not fill their box, coordinates
of 1e308, skeleton elements on another frame (which make the whole task unreadable). So everything
is checked here, before it is kept or sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import FrameDetections
from prefect_cvat.inference.attribute_checks import AttributeChecks, attribute_checks, check_attribute_values
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import (
    LabeledImageRequest,
    LabeledShapeRequest,
    ShapeType,
    SubLabeledShapeRequest,
)
from prefect_cvat.planning.label_checks import output_type

__all__ = ["OutputChecker", "check_geometry", "within_rounding"]

AnyShape = TypeVar("AnyShape", bound=SubLabeledShapeRequest)


@dataclass(frozen=True, slots=True)
class _LabelChecks:
    """What annotations of one label may be."""

    name: str
    type: str
    attributes: AttributeChecks
    sublabels: dict[int, AttributeChecks]


class OutputChecker:
    """Checks what a function returns for an image.

    Args:
        spec_labels: The labels of the function's spec.
        conv_mask_to_poly: Whether the function was told to return polygons instead of masks.
    """

    def __init__(self, spec_labels: Iterable[Any], *, conv_mask_to_poly: bool = False) -> None:
        self._conv_mask_to_poly = conv_mask_to_poly
        self._labels = {
            label.id: _LabelChecks(
                name=label.name,
                type=output_type(label, conv_mask_to_poly),
                attributes=attribute_checks(label),
                sublabels={
                    sublabel.id: attribute_checks(sublabel)
                    for sublabel in getattr(label, "sublabels", None) or ()
                },
            )
            for label in spec_labels
        }

    def check(self, frame: int, annotations: object) -> FrameDetections:
        """Check what the function returned for a frame.

        Returns:
            The same annotations as objects of ours, also where the function made those of the SDK.

        Raises:
            BadFunctionError: The function broke its contract; the message says how.
        """
        if isinstance(annotations, str | bytes) or not isinstance(annotations, Iterable):
            raise BadFunctionError(
                f"function output an object of type {type(annotations).__name__!r}"
                " (expected a sequence of tags and shapes)"
            )
        tags: list[LabeledImageRequest] = []
        shapes: list[LabeledShapeRequest] = []
        for annotation in annotations:
            own = _own(annotation)
            try:
                if isinstance(own, LabeledShapeRequest):
                    shapes.append(self._checked_shape(own))
                else:
                    self._check_tag(own)
                    tags.append(own)
            except (AttributeError, TypeError) as error:  # put into one of its lists after it was made
                raise BadFunctionError(
                    f"function output {type(own).__name__} with something else than it may hold: {error}"
                ) from error
        return FrameDetections(frame, tags, shapes)

    def _check_tag(self, tag: LabeledImageRequest) -> None:
        label = self._check_common(tag, "tag")
        if label.type not in ("any", "tag"):
            raise BadFunctionError(
                f"function output tag (expected shape of type {label.type!r}) for label {label.name!r}"
            )

    def _checked_shape(self, shape: LabeledShapeRequest) -> LabeledShapeRequest:
        label = self._check_common(shape, "shape")
        shape_type = shape.type
        if label.type not in ("any", shape_type):
            raise BadFunctionError(
                f"function output shape of type {shape_type.value!r} (expected {label.type!r})"
                f" for label {label.name!r}"
            )
        if shape_type is ShapeType.MASK and self._conv_mask_to_poly:
            raise BadFunctionError("function output mask shape despite conv_mask_to_poly=True")
        if shape_type is ShapeType.SKELETON:
            elements = self._checked_elements(shape, label)
            return check_geometry(shape).model_copy(update={"elements": elements})
        if shape.elements:
            raise BadFunctionError(
                f"function output non-skeleton shape with elements, for label {label.name!r}"
            )
        return check_geometry(shape)

    def _check_common(self, annotation: LabeledImageRequest | LabeledShapeRequest, what: str) -> _LabelChecks:
        _check_unset(annotation, what)
        label = self._labels.get(annotation.label_id)
        if label is None:
            raise BadFunctionError(f"function output {what} with unknown label ID ({annotation.label_id})")
        if annotation.attributes:
            check_attribute_values(annotation.attributes, label.attributes, what)
        return label

    def _checked_elements(
        self, skeleton: LabeledShapeRequest, label: _LabelChecks
    ) -> list[SubLabeledShapeRequest]:
        seen: set[int] = set()
        checked = []
        for element in skeleton.elements:
            _check_unset(element, "shape element")
            if element.type is not ShapeType.POINTS:
                raise BadFunctionError(
                    f"function output skeleton with element type other than 'points' ({element.type.value})"
                )
            attributes = label.sublabels.get(element.label_id)
            if attributes is None:
                raise BadFunctionError(f"function output shape with unknown sublabel ID ({element.label_id})")
            if element.label_id in seen:
                raise BadFunctionError(
                    f"function output skeleton with multiple elements with same sublabel ({element.label_id})"
                )
            seen.add(element.label_id)
            if element.attributes:
                check_attribute_values(element.attributes, attributes, "shape element")
            checked.append(check_geometry(element))
        return checked


def _check_unset(annotation: LabeledImageRequest | SubLabeledShapeRequest, what: str) -> None:
    if annotation.id is not None:
        raise BadFunctionError(f"function output {what} with preset id")
    if annotation.source is not None:
        raise BadFunctionError(f"function output {what} with preset source")
    if annotation.frame != 0:
        raise BadFunctionError(f"function output {what} with unexpected frame number ({annotation.frame})")


_FARTHEST = 1e9
"""Numbers beyond this, in pixels, come from a calculation gone wrong. CVAT would store them."""

_SCORE_ERROR = 1e-6
"""How far beyond 0 and 1 rounding takes a score of 32 bits; its steps there are of 1.2e-7."""

_MOST_MASK_PIXELS = 1e9
"""Pixels of a mask's box; no image that is read has so many."""

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
    """Check that a shape's numbers are those of a shape of its type, on whatever image.

    Returns:
        The shape, or a copy of it where its rotation was of less than 0 or of 360 degrees or more, or its
        score beyond 0 or 1 by no more than rounding.

    Raises:
        BadFunctionError: They are not; the message says why.
    """
    points = shape.points
    is_enough = _COUNTS.get(shape.type)
    if is_enough is None:
        raise BadFunctionError(
            f"function output shape of unknown type {shape.type!r}; the types are {', '.join(_COUNTS)}"
        )
    if not is_enough(len(points)):
        raise BadFunctionError(f"function output {shape.type.value} with {len(points)} numbers in its points")
    # the sum of all is quicker to have than a look at each, and hardly ever so large; NaN compares false
    if not sum(map(abs, points)) <= _FARTHEST:
        _check_coordinates(shape.type.value, points)
    if shape.type is ShapeType.MASK:
        _check_mask(points)
    score = shape.score
    if 0 <= shape.rotation < 360 and (score is None or 0 <= score <= 1):
        return shape
    return shape.model_copy(update={"rotation": _within_a_turn(shape), "score": _within_0_to_1(shape)})


def within_rounding(score: float) -> float | None:
    """A score from 0 to 1, of which one of 32 bits may be off by rounding; None if it is off by more."""
    if not -_SCORE_ERROR <= score <= 1 + _SCORE_ERROR:
        return None
    return min(max(score, 0.0), 1.0)


def _within_a_turn(shape: SubLabeledShapeRequest) -> float:
    if not math.isfinite(shape.rotation):
        raise BadFunctionError(
            f"function output {shape.type.value} with rotation {shape.rotation} (expected degrees)"
        )
    return shape.rotation % 360 % 360  # of a tiny negative angle the first leaves 360


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
        raise BadFunctionError(f"function output {name} with a coordinate that no image has ({farthest:g})")


def _check_mask(points: Sequence[float]) -> None:
    if any(not number.is_integer() for number in points):
        raise BadFunctionError("function output mask with numbers that are not whole")
    *runs, left, top, right, bottom = points
    if right < left or bottom < top:
        raise BadFunctionError(f"function output mask with an empty box ({left}, {top}, {right}, {bottom})")
    area = (right - left + 1) * (bottom - top + 1)
    if area > _MOST_MASK_PIXELS:
        raise BadFunctionError(f"function output mask with a box of {area:g} pixels, which no image has")
    if min(runs) < 0 or sum(runs) != area:
        raise BadFunctionError(
            f"function output mask whose run lengths sum up to {sum(runs):.0f},"
            f" but whose box has {pluralize(int(area), 'pixel')}; make its points with"
            " prefect_cvat.masks.encode_mask(array)"
        )


def _own(annotation: object) -> LabeledImageRequest | LabeledShapeRequest:
    """The annotation as an object of ours, or the error that the SDK would give."""
    if isinstance(annotation, LabeledShapeRequest | LabeledImageRequest):
        return annotation
    # objects of cvat_sdk.models, which need not be installed here: known by the names of their classes
    class_name = type(annotation).__name__
    try:
        for model in (LabeledShapeRequest, LabeledImageRequest):
            if model.__name__ == class_name:
                return model.model_validate(annotation)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadFunctionError(f"function output {class_name} with bad {where}: {problem['msg']}") from error
    raise BadFunctionError(
        f"function output an object of type {class_name!r}"
        " (expected 'LabeledImageRequest' or 'LabeledShapeRequest')"
    )
