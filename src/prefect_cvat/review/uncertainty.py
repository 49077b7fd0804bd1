"""How uncertain the shapes of a frame are.

The uncertainty of a shape is a number from 0 to 1: `1 - score`, or its IoU (of bounding boxes) with a shape
of higher score if that is greater and at least `MIN_IOU`. Two shapes with such an IoU are usually one object
that was detected twice, or with two labels, so that one of them must be removed.

Where corrections have taught how often shapes are right (`review/calibration.py`), the uncertainty is 1 minus
that probability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    found = [
        Uncertainty(label_id := shape["label_id"], shape["score"], box, 0.0, label_id)
        for shape, box in zip(shapes, boxes, strict=True)
    ]
    for index, (iou, other) in _find_overlaps(shapes, boxes).items():
        label_id, score, box, *_ = found[index]
        found[index] = Uncertainty(label_id, score, box, iou, shapes[other]["label_id"])
    if judge is not None:
        found = [
            each._replace(probability=judge(each.label_id, each.score, each.box, each.iou)) for each in found
        ]
    return found


def _find_overlaps(
    shapes: Sequence[Mapping[str, Any]], boxes: Sequence[BoundingBox]
) -> dict[int, tuple[float, int]]:
    """The highest IoU with a shape of higher score and the index of that shape, by the index of a shape."""
    with_area = [index for index, shape in enumerate(shapes) if shape["type"] not in WITHOUT_AREA]
    with_area.sort(key=lambda index: -shapes[index]["score"])
    if len(with_area) < 2:
        return {}
    types = [shapes[index]["type"] for index in with_area]
    names = sorted(set(types))
    type_number = np.array([names.index(each) for each in types]) if len(names) > 1 else None
    coordinates = np.array([boxes[index] for index in with_area], dtype=np.float64)
    found: dict[int, tuple[float, int]] = {}
    for rows, columns in _side_by_side(coordinates):
        iou = box_iou(coordinates[rows], coordinates[columns])
        iou *= columns < rows[:, None]
        if type_number is not None:
            iou *= type_number[rows][:, None] == type_number[columns]
        highest = iou.max(axis=1)
        overlapping = (highest >= MIN_IOU).nonzero()[0]
        if len(overlapping):
            best = columns[iou[overlapping].argmax(axis=1)].tolist()
            for row, value, column in zip(
                rows[overlapping].tolist(), highest[overlapping].tolist(), best, strict=True
            ):
                found[with_area[row]] = value, with_area[column]
    return found


def _side_by_side(boxes: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The indices of some boxes, and of those that may overlap with them, until all boxes had their turn."""
    if len(boxes) <= MAX_ROWS:
        everyone = np.arange(len(boxes))
        yield everyone, everyone
        return
    left, right = boxes[:, 0], boxes[:, 2]
    from_left = np.argsort(left, kind="stable")
    for start in range(0, len(boxes), MAX_ROWS):
        rows = from_left[start : start + MAX_ROWS]
        columns = np.flatnonzero((left < right[rows].max()) & (right > left[rows].min()))
        if len(columns):
            yield rows, columns
