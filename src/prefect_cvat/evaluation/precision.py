"""COCO's interpolated precision of the predictions of one label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECALLS", "average_precision", "precision_at_recalls"]

RECALLS = np.linspace(0, 1, 101)
"""COCO's recall thresholds."""


def precision_at_recalls(
    is_correct: NDArray[np.uint16], is_ignored: NDArray[np.uint16], objects: int, thresholds: int
) -> NDArray[np.float64]:
    """The precision at each of COCO's recall thresholds, as in pycocotools 2.0.11 (`COCOeval.accumulate`).

    Args:
        is_correct: `[N]`: for predictions in descending order of score, bit i is set if the prediction
            matches an object at IoU threshold i.
        is_ignored: `[N]`: bit i is set if it is ignored at that threshold.
        objects: Number of ground-truth objects.
        thresholds: Number of IoU thresholds.

    Returns:
        `[thresholds, 101]`: IoU thresholds by recall thresholds; -1 if there are no objects.
    """
    precision = np.full((thresholds, len(RECALLS)), 0.0 if objects else -1.0)
    if not objects or not len(is_correct):
        return precision
    places = np.arange(1, len(is_correct) + 1)
    for bit in range(thresholds):
        found = np.flatnonzero(is_correct >> bit & 1)
        ignored = is_ignored >> bit & 1
        counted = places - np.cumsum(ignored) if ignored.any() else places
        precision[bit] = _interpolated(counted[found], objects)
    return precision


def average_precision(is_correct: NDArray[np.bool_], objects: int) -> float:
    """COCO's average precision at one IoU threshold; 0 without objects.

    Args:
        is_correct: `[N]`: whether a prediction matches an object, in descending order of score.
        objects: Number of ground-truth objects.
    """
    if not objects:
        return 0.0
    return float(_interpolated(np.flatnonzero(is_correct) + 1, objects).mean())


def _interpolated(ranks: NDArray[Any], objects: int) -> NDArray[np.float64]:
    """`[101]`: the precision at each recall threshold.

    Args:
        ranks: The ranks of true positives among the predictions that are not ignored, from 1 on, ascending.
            Between two of them precision only falls, so they suffice.
        objects: Number of ground-truth objects.
    """
    right = np.arange(1, len(ranks) + 1, dtype=np.float64)
    reached = np.append(np.maximum.accumulate((right / ranks)[::-1])[::-1], 0.0)
    return reached[np.searchsorted(right / objects, RECALLS, side="left")]
