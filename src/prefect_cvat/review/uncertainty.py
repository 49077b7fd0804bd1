"""How uncertain the shapes of a frame are.

The uncertainty of a shape is a number from 0 to 1: `1 - score`, or its IoU (of bounding boxes) with a shape
of higher score if that is greater and at least `MIN_IOU`. Two shapes with such an IoU are usually one object
that was detected twice, or with two labels, so that one of them must be removed.

Where corrections have taught how often shapes are right (`review/calibration.py`), the uncertainty is 1 minus
that probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from prefect_cvat.geometry.bounding_box import WITHOUT_AREA, BoundingBox, bounding_box
from prefect_cvat.geometry.iou import box_iou

__all__ = ["ShapeJudge", "Uncertainty", "measure_uncertainty"]

ShapeJudge: TypeAlias = Callable[[int, float, BoundingBox, float], float]
"""The probability that a shape is right, by its label id, score, bounding box and IoU."""

MIN_IOU = 0.5
"""The minimum IoU from which two shapes may be the same object."""

MAX_ROWS = 256
"""How many boxes are compared with all others at a time, to bound memory."""


class Uncertainty(NamedTuple):
    """How uncertain a shape or a track is.

    Attributes:
        label_id: Its label.
        score: Its score, 0 to 1.
        box: Its bounding box.
        iou: The highest IoU with a shape of higher score; 0 if none is at least `MIN_IOU`.
        other_label_id: The label of that shape.
        probability: The learned probability that it is right; None if nothing was learned.
    """

    label_id: int
    score: float
    box: BoundingBox
    iou: float = 0.0
    other_label_id: int = 0
    probability: float | None = None

    @property
    def value(self) -> float:
        """The uncertainty, 0 to 1."""
        if self.probability is not None:
            return 1.0 - self.probability
        return max(1.0 - self.score, self.iou)


def measure_uncertainty(
    shapes: Sequence[Mapping[str, Any]], judge: ShapeJudge | None = None
) -> list[Uncertainty]:
    """Measure how uncertain each shape of a frame is.

    A shape is compared with shapes of its own type that have a higher score, or the same score and come
    earlier in the list. Types are compared separately because a function may return a box and a mask of each
    object.

    Args:
        shapes: All shapes of the frame, as the server's JSON objects.
        judge: The learned probability that a shape is right, if there is one.
    """
    boxes = [bounding_box(shape) for shape in shapes]
    overlaps = _find_overlaps(shapes, boxes)
    found = []
    for index, (shape, box) in enumerate(zip(shapes, boxes, strict=True)):
        iou, other = overlaps.get(index, (0.0, index))
        label_id, score = shape["label_id"], shape["score"]
        probability = None if judge is None else judge(label_id, score, box, iou)
        found.append(Uncertainty(label_id, score, box, iou, shapes[other]["label_id"], probability))
    return found


def _find_overlaps(
    shapes: Sequence[Mapping[str, Any]], boxes: Sequence[BoundingBox]
) -> dict[int, tuple[float, int]]:
    """The highest IoU with a shape of higher score and the index of that shape, by the index of a shape."""
    with_area = [index for index, shape in enumerate(shapes) if shape["type"] not in WITHOUT_AREA]
    with_area.sort(key=lambda index: -shapes[index]["score"])
    if len(with_area) < 2:
        return {}
    types = sorted({shapes[index]["type"] for index in with_area})
    type_number = np.array([types.index(shapes[index]["type"]) for index in with_area])
    coordinates = np.array([boxes[index] for index in with_area], dtype=np.float64)
    left, right = coordinates[:, 0], coordinates[:, 2]
    from_left = np.argsort(left, kind="stable")
    found: dict[int, tuple[float, int]] = {}
    for start in range(0, len(with_area), MAX_ROWS):
        rows = from_left[start : start + MAX_ROWS]  # boxes side by side: few others can overlap with them
        columns = np.flatnonzero((left < right[rows].max()) & (right > left[rows].min()))
        if not len(columns):
            continue
        iou = box_iou(coordinates[rows], coordinates[columns])
        iou *= (type_number[rows][:, None] == type_number[columns]) & (columns < rows[:, None])
        best = iou.argmax(axis=1)
        for place in np.flatnonzero(iou.max(axis=1) >= MIN_IOU).tolist():
            row, column = int(rows[place]), int(columns[best[place]])
            found[with_area[row]] = (float(iou[place, best[place]]), with_area[column])
    return found
