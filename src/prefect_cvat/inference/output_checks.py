"""Checks of the output of a function against its spec, the task's labels, and what CVAT can store.

The checks of the SDK come first, in its order (cvat_sdk 2.80, `_AnnotationMapper` in
auto_annotation/driver.py), so that users can search for its messages. Of annotations without a label in the
task, only the label id is checked. Our own checks follow, for all annotations of a frame: CVAT 2.73 accepts
invalid annotations, such as skeleton elements on another frame, which make the whole task unreadable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import FrameDetections
from prefect_cvat.inference.attribute_checks import AttributeChecks, attribute_checks, check_attribute_values
from prefect_cvat.inference.coordinate_checks import check_geometry
from prefect_cvat.models import (
    LabeledImageRequest,
    LabeledShapeRequest,
    ShapeType,
    SubLabeledShapeRequest,
)
from prefect_cvat.planning.label_mapping import LabelMapping, LabelTarget, SublabelTarget
from prefect_cvat.planning.mismatch_messages import output_type

__all__ = ["OutputChecker"]


@dataclass(frozen=True, slots=True)
class _LabelChecks:
    """The checks for annotations of one label; none if it has no label in the task."""

    name: str
    target: LabelTarget | None
    attributes: AttributeChecks
    sublabels: dict[int, AttributeChecks]


class OutputChecker:
    """Checks what a function returns for an image.

    Args:
        spec_labels: The labels of the function's spec.
        mapping: The label mapping to a task; None checks against the spec only.
        conv_mask_to_poly: Whether the function must return polygons instead of masks.
    """

    def __init__(
        self,
        spec_labels: Sequence[Any],
        mapping: LabelMapping | None = None,
        *,
        conv_mask_to_poly: bool = False,
    ) -> None:
        self._conv_mask_to_poly = conv_mask_to_poly
        self._labels = {
            label.id: _LabelChecks(
                name=label.name,
                target=mapping.targets[label.id] if mapping else _own_target(label, conv_mask_to_poly),
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
            The annotations as our own objects, also if the function returned those of the SDK. Annotations
            without a label in the task are included unchecked: they are cached, and checked again when they
            are used with another task or label map.

        Raises:
            BadFunctionError: The output is invalid; the message says why.
        """
        if isinstance(annotations, str | bytes) or not isinstance(annotations, Iterable):
            raise BadFunctionError(
                f"function output an object of type {type(annotations).__name__!r}"
                " (expected a sequence of tags and shapes)"
            )
        annotations = list(annotations)
        found = FrameDetections(frame, [], [])
        checked: list[tuple[LabeledImageRequest | LabeledShapeRequest, LabelTarget | None]] = []
        own: object = None
        try:
            for annotation in annotations:
                own = _own(annotation)
                checked.append((own, self._check(own)))
            for own, target in checked:
                if isinstance(own, LabeledImageRequest):
                    found.tags.append(own)
                else:
                    found.shapes.append(own if target is None else _storable(own, target))
        except (AttributeError, TypeError) as error:  # invalid values added to a list after validation
            raise BadFunctionError(
                f"function output {type(own).__name__} with an invalid value: {error}"
            ) from error
        return found

    # --- the checks of the SDK, in its order ---

    def _check(self, annotation: LabeledImageRequest | LabeledShapeRequest) -> LabelTarget | None:
        """Check an annotation; return its target label, or None if the task does not have it."""
        what = "tag" if isinstance(annotation, LabeledImageRequest) else "shape"
        _check_unset(annotation, what)
        label = self._labels.get(annotation.label_id)
        if label is None:
            raise BadFunctionError(f"function output {what} with unknown label ID ({annotation.label_id})")
        target = label.target
        if target is None:
            return None
        if annotation.attributes:
            check_attribute_values(annotation.attributes, label.attributes, target.attributes, what)
        if isinstance(annotation, LabeledShapeRequest):
            self._check_shape(annotation, label, target)
        elif target.type not in ("any", "tag"):
            raise BadFunctionError(
                f"function output tag (expected shape of type {target.type!r}) for label {label.name!r}"
            )
        return target

    def _check_shape(self, shape: LabeledShapeRequest, label: _LabelChecks, target: LabelTarget) -> None:
        shape_type = shape.type
        if target.type not in ("any", shape_type):
            raise BadFunctionError(
                f"function output shape of type {shape_type.value!r} (expected {target.type!r})"
                f" for label {label.name!r}"
            )
        if shape_type is ShapeType.MASK and self._conv_mask_to_poly:
            raise BadFunctionError("function output mask shape despite conv_mask_to_poly=True")
        if shape_type is ShapeType.SKELETON:
            _check_elements(shape, label, target)
        elif shape.elements:
            raise BadFunctionError(
                f"function output non-skeleton shape with elements, for label {label.name!r}"
            )


def _check_elements(skeleton: LabeledShapeRequest, label: _LabelChecks, target: LabelTarget) -> None:
    seen: set[int] = set()
    for element in skeleton.elements:
        _check_unset(element, "shape element")
        if element.type is not ShapeType.POINTS:
            raise BadFunctionError(
                f"function output skeleton with element type other than 'points' ({element.type.value})"
            )
        attributes = label.sublabels.get(element.label_id)
        if attributes is None:
            raise BadFunctionError(f"function output shape with unknown sublabel ID ({element.label_id})")
        sublabel = target.sublabels[element.label_id]
        if sublabel is None:
            continue
        if sublabel.id in seen:
            raise BadFunctionError(
                "function output skeleton with multiple elements with same sublabel"
                f" ({element.label_id}: {sublabel.name!r} of label {label.name!r})"
            )
        seen.add(sublabel.id)
        if element.attributes:
            check_attribute_values(element.attributes, attributes, sublabel.attributes, "shape element")
    if missing := len(target.sublabel_ids - seen):
        raise BadFunctionError(
            "function output skeleton with fewer elements than expected"
            f" ({len(seen)} vs {len(seen) + missing}) for label {label.name!r}"
        )


def _check_unset(annotation: LabeledImageRequest | SubLabeledShapeRequest, what: str) -> None:
    if annotation.id is not None:
        raise BadFunctionError(f"function output {what} with preset id")
    if annotation.source is not None:
        raise BadFunctionError(f"function output {what} with preset source")
    if annotation.frame != 0:
        raise BadFunctionError(f"function output {what} with unexpected frame number ({annotation.frame})")


# --- our own checks ---


def _storable(shape: LabeledShapeRequest, target: LabelTarget) -> LabeledShapeRequest:
    """Check the geometry of a shape; keypoints without a sublabel in the task are not checked."""
    shape = check_geometry(shape)
    if shape.type is not ShapeType.SKELETON:
        return shape
    wanted = [target.sublabels[element.label_id] is not None for element in shape.elements]
    if not any(wanted):
        raise BadFunctionError(f"function output skeleton without elements for label {target.name!r}")
    elements = [
        check_geometry(element) if is_wanted else element
        for element, is_wanted in zip(shape.elements, wanted, strict=True)
    ]
    return shape.model_copy(update={"elements": elements})


# --- conversion ---


def _own_target(label: Any, conv_mask_to_poly: bool) -> LabelTarget:
    """A label of a spec as its own target, without required keypoints."""
    return LabelTarget(
        id=label.id,
        name=label.name,
        type=output_type(label, conv_mask_to_poly),
        attributes=_own_attributes(label),
        sublabels={
            sublabel.id: SublabelTarget(sublabel.id, sublabel.name, _own_attributes(sublabel))
            for sublabel in getattr(label, "sublabels", None) or ()
        },
        sublabel_ids=frozenset(),
    )


def _own_attributes(owner: Any) -> dict[int, int | None]:
    return {attribute.id: attribute.id for attribute in getattr(owner, "attributes", None) or ()}


def _own(annotation: object) -> LabeledImageRequest | LabeledShapeRequest:
    """Convert an annotation to our own object, or raise the error of the SDK."""
    if isinstance(annotation, LabeledShapeRequest | LabeledImageRequest):
        return annotation
    # objects of cvat_sdk.models, recognized by class name, since the SDK may not be installed
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
