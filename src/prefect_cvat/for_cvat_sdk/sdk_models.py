"""Converts labels and annotations to objects of `cvat_sdk.models` (2.80)."""

from __future__ import annotations

from typing import Any

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models as sdk_models

from prefect_cvat.models import (
    AttributeRequest,
    AttributeValRequest,
    LabeledImageRequest,
    LabeledShapeRequest,
    PatchedLabelRequest,
    SubLabeledShapeRequest,
    SublabelRequest,
)

__all__ = ["sdk_label", "sdk_shape", "sdk_tag"]


def sdk_label(label: Any) -> sdk_models.PatchedLabelRequest:
    """Convert a label of a spec, ours or already the SDK's."""
    own = PatchedLabelRequest.model_validate(label)
    fields = _given(own, "color", "svg", type=own.type.value, attributes=_attributes(own))
    if own.sublabels:
        fields["sublabels"] = [
            cvataa.keypoint_spec(each.name, each.id, **_given(each, "color", attributes=_attributes(each)))
            for each in own.sublabels
        ]
    return cvataa.label_spec(own.name, own.id, **fields)


def sdk_tag(tag: LabeledImageRequest) -> sdk_models.LabeledImageRequest:
    """Convert a tag."""
    return sdk_models.LabeledImageRequest(
        label_id=tag.label_id, frame=tag.frame, **_given(tag, "group", attributes=_values(tag.attributes))
    )


def sdk_shape(shape: LabeledShapeRequest) -> sdk_models.LabeledShapeRequest:
    """Convert a shape with its elements."""
    fields = _shape_fields(shape)
    if shape.elements:
        fields["elements"] = [
            sdk_models.SubLabeledShapeRequest(**_shape_fields(element)) for element in shape.elements
        ]
    return sdk_models.LabeledShapeRequest(**fields)


def _shape_fields(shape: SubLabeledShapeRequest) -> dict[str, Any]:
    return {
        "type": shape.type.value,
        "label_id": shape.label_id,
        "frame": shape.frame,
        "points": shape.points,
        "occluded": shape.occluded,
        "outside": shape.outside,
        "z_order": shape.z_order,
        "rotation": shape.rotation,
        **_given(shape, "group", "score", attributes=_values(shape.attributes)),
    }


def _given(own: Any, *names: str, **others: Any) -> dict[str, Any]:
    """The fields that are not None; the SDK knows no None, but fields that are not set."""
    return {name: value for name in names if (value := getattr(own, name)) is not None} | others


def _attributes(owner: PatchedLabelRequest | SublabelRequest) -> list[sdk_models.AttributeRequest]:
    return [_attribute(each) for each in owner.attributes]


def _attribute(own: AttributeRequest) -> sdk_models.AttributeRequest:
    return sdk_models.AttributeRequest(
        name=own.name,
        mutable=own.mutable,
        input_type=own.input_type.value,
        values=own.values,
        **_given(own, "id", "default_value"),
    )


def _values(attributes: list[AttributeValRequest]) -> list[sdk_models.AttributeValRequest]:
    return [sdk_models.AttributeValRequest(spec_id=each.spec_id, value=each.value) for each in attributes]
