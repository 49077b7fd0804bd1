"""Shapes in COCO's format: bounding boxes, segmentations, keypoints.

Shapes are the server's JSON objects. Both formats count pixels from the upper left corner of the image.
COCO's format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefect_cvat.frames import Frame
from prefect_cvat.geometry.bounding_box import bounding_box
from prefect_cvat.geometry.outlines import corners_of
from prefect_cvat.masks import decode_mask

__all__ = ["box_of", "keypoints_of", "segmentation_of"]

Shape = Mapping[str, Any]


def box_of(shape: Shape) -> list[float]:
    """COCO's `bbox` of a shape with an area: left, top, width, height.

    Raises:
        ValueError: The shape has the wrong number of points.
    """
    if shape["type"] == "rectangle" and len(shape["points"]) != 4:
        raise ValueError(f"a rectangle has 4 numbers, not {len(shape['points'])}")
    left, top, right, bottom = bounding_box(shape)
    return [left, top, right - left, bottom - top]


def segmentation_of(shape: Shape, frame: Frame) -> Any:
    """COCO's `segmentation` of a shape whose outline is known.

    Args:
        shape: The shape.
        frame: Its frame.

    Returns:
        Compressed run lengths, `{"size": [height, width], "counts": ...}`, for a mask; a list of one polygon
        for all other types.

    Raises:
        ValueError: The points are not those of a mask, or the mask is not within the image.
    """
    if shape["type"] != "mask":
        return [corners_of(shape)]
    from faster_coco_eval import mask  # imports OpenCV where there is one

    size = [frame.height, frame.width]
    encoded = mask.frPyObjects({"size": size, "counts": _run_lengths(shape["points"], frame)}, *size)
    return {"size": size, "counts": encoded["counts"].decode()}


def _run_lengths(points: Sequence[float], frame: Frame) -> list[int]:
    """COCO's uncompressed run lengths of a mask: of the whole image, column by column, background first.

    Raises:
        ValueError: The points are not those of a mask within the image.
    """
    *runs, left, top, right, bottom = points
    if not (0 <= left <= right < frame.width and 0 <= top <= bottom < frame.height):
        raise ValueError(f"its box ({left}, {top}, {right}, {bottom}) is not within the image")
    width, height = int(right - left) + 1, int(bottom - top) + 1
    in_box = decode_mask([*runs, 0, 0, width - 1, height - 1], image_width=width, image_height=height)
    # only the columns of the box: `faster_coco_eval.mask.encode` reads all pixels of the image
    columns = np.zeros((width, frame.height), dtype=np.bool_)
    columns[:, int(top) : int(top) + height] = in_box.T
    pixels = np.pad(columns.ravel(), 1)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + int(left) * frame.height
    counts: list[int] = np.diff([0, *changes, frame.width * frame.height]).tolist()
    return counts if counts[-1] else counts[:-1]


def keypoints_of(skeleton: Shape, sublabels: Sequence[int], *, absent: float = 0.0) -> dict[str, Any]:
    """COCO's keypoints of a skeleton, how many are visible, and their bounding box.

    Args:
        skeleton: The skeleton.
        sublabels: The ids of all keypoints of its label, in their order.
        absent: Both coordinates of keypoints that are missing or outside.

    Returns:
        COCO's `keypoints`, `num_keypoints` and `bbox`. Visibility is 1 for occluded keypoints, 2 for other
        visible ones, 0 for absent ones.
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
