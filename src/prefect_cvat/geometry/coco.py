"""CVAT's shapes as COCO's format has them: boxes, segmentations, keypoints.

Shapes are the server's JSON objects. COCO counts from an image's upper left corner as CVAT does, and has
boxes as left, top, width, height.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefect_cvat.frames import Frame
from prefect_cvat.masks import decode_mask

__all__ = [
    "WITH_AREA",
    "box_of",
    "corners_of",
    "has_outline",
    "keypoints_of",
    "segmentation_of",
]

Shape = Mapping[str, Any]

WITH_AREA = frozenset({"rectangle", "polygon", "mask", "ellipse", "cuboid"})
"""The types of shapes that there is a box around."""

_CORNERS = 72
"""How many corners the polygon has that stands for an ellipse; its area is 0.1 % less."""


def has_outline(shape: Shape) -> bool:
    """Whether more is known of a shape than the box around it."""
    return shape["type"] in ("polygon", "mask", "ellipse") or bool(
        shape["type"] == "rectangle" and shape.get("rotation")
    )


def box_of(shape: Shape) -> list[float]:
    """The box around a shape with an area: left, top, width, height."""
    if shape["type"] == "mask":
        left, top, right, bottom = shape["points"][-4:]
        return [left, top, right - left + 1, bottom - top + 1]
    corners = corners_of(shape)
    xs, ys = corners[0::2], corners[1::2]
    left, top = min(xs), min(ys)
    return [left, top, max(xs) - left, max(ys) - top]


def segmentation_of(shape: Shape, frame: Frame) -> Any:
    """The segmentation of a shape with an outline: run lengths of a mask, polygons of all others.

    Raises:
        ValueError: It is a mask that is none, or that is not within the image.
    """
    if shape["type"] != "mask":
        return [corners_of(shape)]
    from faster_coco_eval import mask  # imports OpenCV where there is one

    size = [frame.height, frame.width]
    encoded = mask.frPyObjects({"size": size, "counts": _run_lengths(shape["points"], frame)}, *size)
    return {"size": size, "counts": encoded["counts"].decode()}


def _run_lengths(points: Sequence[float], frame: Frame) -> list[int]:
    """The run lengths of a mask as COCO has them: of the whole image, column by column, background first.

    Raises:
        ValueError: These are not the points of a mask within the image.
    """
    *runs, left, top, right, bottom = points
    if not (0 <= left <= right < frame.width and 0 <= top <= bottom < frame.height):
        raise ValueError(f"its box ({left}, {top}, {right}, {bottom}) is not within the image")
    width, height = int(right - left) + 1, int(bottom - top) + 1
    in_box = decode_mask([*runs, 0, 0, width - 1, height - 1], image_width=width, image_height=height)
    columns = np.zeros((width, frame.height), dtype=np.bool_)  # of the whole image it would be slow
    columns[:, int(top) : int(top) + height] = in_box.T
    pixels = np.pad(columns.ravel(), 1)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + int(left) * frame.height
    counts: list[int] = np.diff([0, *changes, frame.width * frame.height]).tolist()
    return counts if counts[-1] else counts[:-1]


def keypoints_of(skeleton: Shape, sublabels: Sequence[int], *, absent: float = 0.0) -> dict[str, Any]:
    """The keypoints of a skeleton, how many can be told, and the box around these.

    Args:
        skeleton: The skeleton.
        sublabels: Ids of all keypoints of its label, in their order.
        absent: What both coordinates are of keypoints that it does not have, or that are outside.

    Returns:
        COCO's `keypoints`, `num_keypoints` and `bbox`. Visibility is 1 of occluded keypoints, 2 of others, 0
        of absent ones.
    """
    elements = {element["label_id"]: element for element in skeleton.get("elements") or ()}
    keypoints: list[float] = []
    xs, ys = [], []
    for sublabel in sublabels:
        element = elements.get(sublabel)
        if element is None or element.get("outside") or len(element["points"]) != 2:
            keypoints += (absent, absent, 0)
            continue
        x, y = element["points"]
        xs.append(x)
        ys.append(y)
        keypoints += (x, y, 1 if element.get("occluded") else 2)
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)] if xs else [0.0, 0.0, 0.0, 0.0]
    return {"keypoints": keypoints, "num_keypoints": len(xs), "bbox": box}


def corners_of(shape: Shape) -> list[float]:
    """The corners of a shape with an area, `[x, y, x, y, ...]`; those of an ellipse are many."""
    points = shape["points"]
    rotation = shape.get("rotation") or 0.0
    if shape["type"] == "ellipse":
        cx, cy, right, top = points
        steps = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        xs, ys = (right - cx) * np.cos(steps), (cy - top) * np.sin(steps)
    elif shape["type"] == "rectangle":
        x1, y1, x2, y2 = points
        if not rotation:
            return [x1, y1, x2, y1, x2, y2, x1, y2]
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        xs, ys = np.array([x1, x2, x2, x1]) - cx, np.array([y1, y1, y2, y2]) - cy
    else:
        return list(points)
    turn = math.radians(rotation)
    turned = np.stack(
        [
            cx + xs * math.cos(turn) - ys * math.sin(turn),
            cy + xs * math.sin(turn) + ys * math.cos(turn),
        ],
        axis=1,
    )
    corners: list[float] = turned.ravel().tolist()
    return corners
