"""Annotations of a detection function as the items that CVAT takes from a detector.

Facts of CVAT 2.73: an item names its label and its type in lower case. Confidence, occlusion and z-order are
not read: each shape is stored with score 1. A mask is one number for each pixel of its box, row by row, and
then the box; run lengths would be stored as garbage. `points` of a mask are its polygon, for who wants
polygons; the call does not say who does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.frames import FrameDetections
from prefect_cvat.gateway.shown_labels import ShownLabel
from prefect_cvat.geometry.clip_at_image_edge import clip_keypoint, clip_shape
from prefect_cvat.masks import decode_mask, mask_to_polygons
from prefect_cvat.models import (
    AttributeValRequest,
    LabeledImageRequest,
    LabeledShapeRequest,
    ShapeType,
)

__all__ = ["detector_items", "encode_items"]

Items = list[dict[str, Any]]


def detector_items(
    found: FrameDetections,
    shown: Mapping[int, ShownLabel],
    size: tuple[int, int],
    *,
    thresholds: Mapping[int, float],
    first_group: int,
    losses: Counter[str],
) -> Items:
    """Translate the checked annotations of an image.

    Args:
        found: The annotations.
        shown: The labels, as CVAT shows them; annotations of others are dropped.
        size: Width and height of the image in pixels; shapes are clipped at its edges.
        thresholds: The minimum score of each label, by its id.
        first_group: Added to the numbers of groups. CVAT takes them as they are, so the same number in two
            images would be one group.
        losses: Counts what CVAT does not get, or does not keep, by what it is.

    Returns:
        The items, for `encode_items`.
    """
    items: Items = []
    for tag in found.tags:
        if (label := _label(tag, shown, losses)) is not None:
            items.append(_common(tag, label, "tag", first_group))
    for shape in found.shapes:
        if (label := _label(shape, shown, losses)) is None:
            continue
        if shape.score is not None:
            if shape.score < thresholds.get(shape.label_id, 0.0):
                losses["below the threshold"] += 1
                continue
            losses["scores"] += 1
        losses["marks as occluded"] += shape.occluded
        losses["z-orders"] += bool(shape.z_order)
        items += _shape_items(shape, label, size, first_group, losses)
    return items


def encode_items(items: Iterable[Mapping[str, Any]]) -> bytes:
    """Encode items as JSON. Masks are joined as bytes: `json` takes a second for 12 megapixels.

    Raises:
        ValueError: A number is not finite.
    """
    encoded = []
    for item in items:
        text = json.dumps({**item, "mask": None} if "mask" in item else item, allow_nan=False).encode()
        if "mask" in item:
            text = text.replace(b'"mask": null', b'"mask": [' + item["mask"].encode() + b"]", 1)
        encoded.append(text)
    return b"[" + b", ".join(encoded) + b"]"


@dataclass(frozen=True, slots=True)
class _DenseMask:
    """The pixels `[H, W]` of a mask's box, and the box: left, top, right, bottom, inclusive."""

    pixels: NDArray[np.bool_]
    box: tuple[int, int, int, int]

    def encode(self) -> bytes:
        """The numbers with commas: 0 or 1 for each pixel, then the box."""
        digits = np.full(2 * self.pixels.size, ord(","), dtype=np.uint8)
        digits[::2] = self.pixels.ravel() + np.uint8(ord("0"))
        return digits.tobytes() + ",".join(map(str, self.box)).encode()


def _label(
    annotation: LabeledImageRequest | LabeledShapeRequest,
    shown: Mapping[int, ShownLabel],
    losses: Counter[str],
) -> ShownLabel | None:
    label = shown.get(annotation.label_id)
    if label is None:
        losses["of a dropped label"] += 1
    return label


def _shape_items(
    shape: LabeledShapeRequest,
    label: ShownLabel,
    size: tuple[int, int],
    first_group: int,
    losses: Counter[str],
) -> Iterator[dict[str, Any]]:
    common = _common(shape, label, shape.type.value, first_group)
    if shape.type is ShapeType.SKELETON:
        elements = []
        for element in shape.elements:
            if (sublabel := label.sublabels.get(element.label_id)) is not None:
                points, outside = clip_keypoint(element, *size)
                losses["keypoints outside the image"] += outside and not element.outside
                attributes = _attributes(element.attributes, sublabel.attributes)
                keypoint = {"label": sublabel.name, "type": "points", "points": points, "outside": outside}
                elements.append({**keypoint, "attributes": attributes})
        losses["keypoints marked as occluded"] += sum(element.occluded for element in shape.elements)
        if all(element["outside"] for element in elements):  # CVAT drops it
            losses["skeletons without a visible keypoint"] += 1
        else:
            yield {**common, "elements": elements}
        return
    parts, clipping = clip_shape(shape, *size)
    if clipping is not None:
        losses[clipping.value] += 1
    for points in parts:
        if shape.type is ShapeType.MASK:
            yield {**common, **_mask(points)}
        elif shape.rotation and shape.type in (ShapeType.RECTANGLE, ShapeType.ELLIPSE):
            yield {**common, "points": points, "rotation": shape.rotation}
        else:
            yield {**common, "points": points}


def _common(
    annotation: LabeledImageRequest | LabeledShapeRequest, label: ShownLabel, kind: str, first_group: int
) -> dict[str, Any]:
    item: dict[str, Any] = {"label": label.name, "type": kind}
    if attributes := _attributes(annotation.attributes, label.attributes):
        item["attributes"] = attributes
    if annotation.group:
        item["group_id"] = first_group + annotation.group
    return item


def _attributes(values: Iterable[AttributeValRequest], names: Mapping[int, str]) -> list[dict[str, str]]:
    return [
        {"name": names[value.spec_id], "value": value.value} for value in values if value.spec_id in names
    ]


def _mask(points: list[float]) -> dict[str, Any]:
    left, top, right, bottom = map(int, points[-4:])
    width, height = right - left + 1, bottom - top + 1
    bitmap = decode_mask([*points[:-4], 0, 0, width - 1, height - 1], image_width=width, image_height=height)
    item: dict[str, Any] = {"mask": _DenseMask(bitmap, (left, top, right, bottom))}
    polygons = mask_to_polygons(bitmap, offset=(left, top))
    if polygons:
        item["points"] = max(polygons, key=_area)
    return item


def _area(polygon: list[float]) -> float:
    x, y = np.asarray(polygon[0::2]), np.asarray(polygon[1::2])
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
