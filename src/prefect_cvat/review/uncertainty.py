"""How doubtful the shapes of a frame are.

The doubt of a shape is from 0 to 1: `1 - score`; or, if it is more, how much it overlaps with a shape that
is surer (intersection over union of their boxes, from `LEAST_OVERLAP` on). Such a pair is one object found
twice, or with two labels, so one of them must go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from prefect_cvat.geometry.iou import BoundingBox, bounding_box

__all__ = ["Doubt", "find_doubts"]

LEAST_OVERLAP = 0.5
"""From which intersection over union on two shapes are taken for one object."""

ROWS = 256
"""How many boxes are held against the others at a time, which bounds the memory that this takes."""

_WITHOUT_AREA = frozenset({"points", "polyline"})


class Doubt(NamedTuple):
    """A shape or a track that may have to be corrected.

    Attributes:
        label_id: Its label.
        score: How sure the function is of it.
        box: Where it is.
        overlap: Its intersection over union with a surer one; 0 if there is none that is taken for the same.
        other_label_id: The label of that one.
    """

    label_id: int
    score: float
    box: BoundingBox
    overlap: float = 0.0
    other_label_id: int = 0

    @property
    def work(self) -> float:
        """How likely it is to be corrected."""
        return max(1.0 - self.score, self.overlap)


def find_doubts(shapes: Sequence[Mapping[str, Any]]) -> list[Doubt]:
    """How doubtful the shapes of a frame are, given as the server's JSON objects.

    A shape overlaps with those of its type that have a higher score, or the same and come before it. Types
    do not mix: a function may find a box and a mask of each object.
    """
    boxes = [bounding_box(shape) for shape in shapes]
    overlaps = _find_overlaps(shapes, boxes)
    doubts = []
    for index, (shape, box) in enumerate(zip(shapes, boxes, strict=True)):
        overlap, other = overlaps.get(index, (0.0, index))
        doubts.append(Doubt(shape["label_id"], shape["score"], box, overlap, shapes[other]["label_id"]))
    return doubts


def _find_overlaps(
    shapes: Sequence[Mapping[str, Any]], boxes: Sequence[BoundingBox]
) -> dict[int, tuple[float, int]]:
    """By index of a shape, how much it overlaps with a surer one, and the index of that one."""
    with_area = [index for index, shape in enumerate(shapes) if shape["type"] not in _WITHOUT_AREA]
    with_area.sort(key=lambda index: -shapes[index]["score"])
    if len(with_area) < 2:
        return {}
    kinds = sorted({shapes[index]["type"] for index in with_area})
    kind = np.array([kinds.index(shapes[index]["type"]) for index in with_area])
    left, top, right, bottom = np.array([boxes[index] for index in with_area], dtype=np.float64).T
    area = (right - left) * (bottom - top)
    found: dict[int, tuple[float, int]] = {}
    for start in range(0, len(with_area), ROWS):
        end = min(start + ROWS, len(with_area))
        rows = np.arange(start, end)[:, None]
        common = np.minimum(right[rows], right[:end]) - np.maximum(left[rows], left[:end])
        common.clip(0, out=common)
        common *= (np.minimum(bottom[rows], bottom[:end]) - np.maximum(top[rows], top[:end])).clip(0)
        common *= (kind[rows] == kind[:end]) & (np.arange(end) < rows)
        iou = common / np.maximum(area[rows] + area[:end] - common, 1e-9)
        best = iou.argmax(axis=1)
        for row in np.flatnonzero(iou.max(axis=1) >= LEAST_OVERLAP).tolist():
            column = int(best[row])
            found[with_area[start + row]] = (float(iou[row, column]), with_area[column])
    return found
