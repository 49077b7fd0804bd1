"""Shapes of what models find: masks, skeletons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    keypoint,
    keypoint_spec,
    mask,
    polygon,
    skeleton_label_spec,
)
from prefect_cvat.masks import encode_mask, mask_to_polygons

__all__ = ["COCO_KEYPOINTS", "Keypoints", "mask_points", "mask_shapes", "whole_pixels"]

COCO_KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""The keypoints of a person, in the order of COCO 2017 (person_keypoints_val2017.json)."""

_LEVEL = 0.5
"""The least probability of a pixel of a mask."""


def mask_shapes(
    context: DetectionFunctionContext,
    label_id: int,
    probabilities: NDArray[Any],
    *,
    score: float,
    offset: tuple[int, int] = (0, 0),
    tolerance: float,
    as_polygons: bool | None = None,
) -> Iterator[DetectionAnnotation]:
    """Yield an object's mask, or its polygons where they are wanted; nothing if it has no pixel.

    Args:
        context: About the image.
        label_id: The object's label.
        probabilities: `[H, W]`, booleans or probabilities, of the image or of a part of it.
        score: The object's score.
        offset: Where the upper left pixel of `probabilities` is in the image, `(x, y)`.
        tolerance: How far polygons may be from the outline, in pixels.
        as_polygons: Whether polygons are wanted; None asks the run.
    """
    if context.conv_mask_to_poly if as_polygons is None else as_polygons:
        for points in mask_to_polygons(probabilities, tolerance=tolerance, level=_LEVEL, offset=offset):
            yield polygon(label_id, points, score=score)
    else:
        bitmap = probabilities >= _LEVEL
        if bitmap.any():
            yield mask(label_id, encode_mask(bitmap, offset=offset), score=score)


def mask_points(
    shape_type: str, bitmap: NDArray[np.bool_], *, offset: tuple[int, int] = (0, 0), tolerance: float
) -> list[float] | None:
    """Convert an object's mask to a single shape.

    Args:
        shape_type: `mask`, `rectangle` (the box around the mask) or `polygon` (of its largest part).
        bitmap: `[H, W]`, of the image or of a part of it.
        offset: Where the upper left pixel of `bitmap` is in the image, `(x, y)`.
        tolerance: How far a polygon may be from the outline, in pixels.

    Returns:
        The points of the shape; None if it has no pixel.
    """
    if not bitmap.any():
        return None
    if shape_type == "mask":
        return encode_mask(bitmap, offset=offset)
    if shape_type == "rectangle":
        rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
        x, y = offset
        corners = (columns[0] + x, rows[0] + y, columns[-1] + 1 + x, rows[-1] + 1 + y)
        return [float(number) for number in corners]
    return max(mask_to_polygons(bitmap, tolerance=tolerance, offset=offset), key=_area, default=None)


class Keypoints:
    """The keypoints of a model's skeletons.

    Args:
        names: In the model's order; their places in it are their ids.
        hidden: How invisible keypoints are marked: `occluded` or `outside`.

    Raises:
        ValueError: There are no names, two are equal, or `hidden` is invalid.
    """

    def __init__(self, names: Sequence[str], hidden: Literal["occluded", "outside"]) -> None:
        if isinstance(names, str) or not names:
            raise ValueError(f"keypoint_names must be a list of names, not {names!r}")
        if len(set(names)) < len(names):
            raise ValueError(f"keypoint_names has a name twice: {', '.join(names)}")
        if hidden not in ("occluded", "outside"):
            raise ValueError(f"hidden must be 'occluded' or 'outside', not {hidden!r}")
        self.names = tuple(names)
        self.hidden = hidden

    def label(self, number: int, name: str) -> models.PatchedLabelRequest:
        """Make a label of such skeletons."""
        return skeleton_label_spec(
            name, number, [keypoint_spec(each, index) for index, each in enumerate(self.names)]
        )

    def elements(
        self, places: Sequence[Sequence[float]], seen: Sequence[bool], score: float
    ) -> list[models.SubLabeledShapeRequest]:
        """Make the elements of a skeleton. The model may find more keypoints than have names."""
        return [
            keypoint(index, place, score=score, **{self.hidden: not is_seen})
            for index, (_, place, is_seen) in enumerate(zip(self.names, places, seen, strict=False))
        ]


def whole_pixels(box: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Widen a box to whole pixels, within the image."""
    x1, y1, x2, y2 = box.tolist()
    width, height = size
    return (
        max(math.floor(x1), 0),
        max(math.floor(y1), 0),
        min(math.ceil(x2), width),
        min(math.ceil(y2), height),
    )


def _area(polygon: list[float]) -> float:
    x, y = np.reshape(polygon, (-1, 2)).T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
