"""Weighted boxes fusion: the boxes that several functions have found of the same objects become one each.

Solovyev, Wang and Gabruseva: Weighted boxes fusion, Image and Vision Computing 2021. The best box comes
first. Each box joins the object whose mean box it overlaps most, or begins a new object. Here a function adds
at most one box to an object: what it found as two is two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.geometry.iou import box_iou

__all__ = ["FusedObject", "fuse_boxes"]


@dataclass(frozen=True, slots=True)
class FusedObject:
    """An object that one or more functions have found.

    Attributes:
        members: The indices of its boxes, the best first.
        box: `[4]`: the mean of its boxes, weighted by their scores.
        score: The weighted mean of the scores of all functions, 0 for those that have not found it.
    """

    members: tuple[int, ...]
    box: NDArray[np.float64]
    score: float


def fuse_boxes(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    functions: NDArray[np.int64],
    weights: NDArray[np.float64],
    min_iou: float,
) -> list[FusedObject]:
    """Fuse boxes of one label on one image.

    Args:
        boxes: `[N, 4]`: left, top, right, bottom, in pixels.
        scores: `[N]`: scores, 0 to 1.
        functions: `[N]`: the index of the function of each box.
        weights: `[F]`: the weight of each function that knows the label; 0 for others.
        min_iou: Minimum IoU of a box with the mean box of its object.

    Returns:
        The objects, the best score first.
    """
    votes = scores * weights[functions]
    sums = np.empty((len(boxes), 4))  # of boxes by votes, for each object
    totals = np.empty(len(boxes))
    has = np.zeros((len(boxes), len(weights)), dtype=np.bool_)
    members: list[list[int]] = []
    for index in np.argsort(-votes, kind="stable").tolist():
        count = len(members)
        overlap = box_iou(boxes[index, None], sums[:count] / totals[:count, None])[0]
        overlap[has[:count, functions[index]]] = -1.0
        best = int(overlap.argmax()) if count else -1
        if best < 0 or overlap[best] < min_iou:
            best = count
            members.append([])
            sums[best], totals[best] = 0.0, 0.0
        members[best].append(index)
        vote = max(float(votes[index]), 1e-12)  # a score may be 0
        sums[best] += vote * boxes[index]
        totals[best] += vote
        has[best, functions[index]] = True
    fused = [
        FusedObject(
            tuple(each), sums[place] / totals[place], min(float(votes[each].sum() / weights.sum()), 1.0)
        )
        for place, each in enumerate(members)
    ]
    return sorted(fused, key=lambda each: -each.score)
