"""Factories for label specs and annotations.

The first half makes the labels of a function's spec, the second the annotations that `detect` returns. All
accept further fields of their model as keyword arguments; shapes accept `score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from prefect_cvat import models

__all__ = [
    "attribute_spec",
    "checkbox_attribute_spec",
    "cuboid",
    "ellipse",
    "keypoint",
    "keypoint_spec",
    "label_spec",
    "mask",
    "number_attribute_spec",
    "points",
    "polygon",
    "polyline",
    "radio_attribute_spec",
    "rectangle",
    "select_attribute_spec",
    "shape",
    "skeleton",
    "skeleton_label_spec",
    "tag",
    "text_attribute_spec",
]


def label_spec(name: str, id: int, **kwargs: Any) -> models.PatchedLabelRequest:
    """Make a label."""
    return models.PatchedLabelRequest(name=name, id=id, **kwargs)


def skeleton_label_spec(
    name: str, id: int, sublabels: Sequence[models.SublabelRequest], **kwargs: Any
) -> models.PatchedLabelRequest:
    """Make a skeleton label of keypoints."""
    return label_spec(name, id, type="skeleton", sublabels=sublabels, **kwargs)


def keypoint_spec(name: str, id: int, **kwargs: Any) -> models.SublabelRequest:
    """Make a keypoint of a skeleton label."""
    return models.SublabelRequest(name=name, id=id, type=models.LabelType.POINTS, **kwargs)


def attribute_spec(
    name: str, id: int, input_type: str, values: Sequence[str], **kwargs: Any
) -> models.AttributeRequest:
    """Make an attribute that does not change along a track."""
    kwargs.setdefault("mutable", False)
    return models.AttributeRequest(
        name=name, id=id, input_type=models.InputTypeEnum(input_type), values=list(values), **kwargs
    )


def number_attribute_spec(
    name: str, id: int, values: Sequence[str], **kwargs: Any
) -> models.AttributeRequest:
    """Make a number attribute; `values` best by `prefect_cvat.attributes.number_attribute_values`."""
    return attribute_spec(name, id, "number", values, **kwargs)


def checkbox_attribute_spec(name: str, id: int, **kwargs: Any) -> models.AttributeRequest:
    """Make a checkbox attribute; its values are `"true"` and `"false"`."""
    return attribute_spec(name, id, "checkbox", [], **kwargs)


def radio_attribute_spec(name: str, id: int, values: Sequence[str], **kwargs: Any) -> models.AttributeRequest:
    """Make an attribute of which one value is chosen by radio buttons."""
    return attribute_spec(name, id, "radio", values, **kwargs)


def select_attribute_spec(
    name: str, id: int, values: Sequence[str], **kwargs: Any
) -> models.AttributeRequest:
    """Make an attribute of which one value is chosen from a list."""
    return attribute_spec(name, id, "select", values, **kwargs)


def text_attribute_spec(name: str, id: int, **kwargs: Any) -> models.AttributeRequest:
    """Make an attribute of free text."""
    return attribute_spec(name, id, "text", [], **kwargs)


def tag(label_id: int, **kwargs: Any) -> models.LabeledImageRequest:
    """Make a tag: a label on the whole image."""
    return models.LabeledImageRequest(label_id=label_id, frame=0, **kwargs)


def shape(label_id: int, **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a shape of any `type`."""
    return models.LabeledShapeRequest(label_id=label_id, frame=0, **kwargs)


def rectangle(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a rectangle of `[x1, y1, x2, y2]`; `rotation` in degrees turns it about its centre."""
    return shape(label_id, type="rectangle", points=points, **kwargs)


def polygon(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a polygon of `[x1, y1, x2, y2, x3, y3, ...]`."""
    return shape(label_id, type="polygon", points=points, **kwargs)


def polyline(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a polyline of `[x1, y1, x2, y2, ...]`."""
    return shape(label_id, type="polyline", points=points, **kwargs)


def points(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a set of points `[x1, y1, x2, y2, ...]`."""
    return shape(label_id, type="points", points=points, **kwargs)


def ellipse(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make an ellipse of `[cx, cy, x of its right end, y of its top]`."""
    return shape(label_id, type="ellipse", points=points, **kwargs)


def cuboid(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a cuboid on an image, of the eight corners `[x1, y1, ..., x8, y8]`."""
    return shape(label_id, type="cuboid", points=points, **kwargs)


def mask(label_id: int, points: Sequence[float], **kwargs: Any) -> models.LabeledShapeRequest:
    """Make a mask; `points` best by `prefect_cvat.masks.encode_mask`."""
    return shape(label_id, type="mask", points=points, **kwargs)


def skeleton(
    label_id: int, elements: Sequence[models.SubLabeledShapeRequest], **kwargs: Any
) -> models.LabeledShapeRequest:
    """Make a skeleton of keypoints."""
    return shape(label_id, type="skeleton", elements=elements, **kwargs)


def keypoint(label_id: int, points: Sequence[float], **kwargs: Any) -> models.SubLabeledShapeRequest:
    """Make a keypoint `[x, y]` of a skeleton; `label_id` is the id of its sublabel."""
    return models.SubLabeledShapeRequest(
        label_id=label_id, frame=0, type=models.ShapeType.POINTS, points=cast("list[float]", points), **kwargs
    )
