"""COCO's interpolated precision of the predictions of one label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.matching import AP_THRESHOLDS

__all__ = ["precision_at_recalls"]

_RECALLS = np.linspace(0, 1, 101)


def precision_at_recalls(
    scores: NDArray[np.float64],
    is_correct: NDArray[np.uint16],
    is_ignored: NDArray[np.uint16],
    objects: int,
) -> NDArray[np.float64]:
    """The precision at each of COCO's recall thresholds, as in pycocotools 2.0.11 (`COCOeval.accumulate`).

    Args:
        scores: `[N]`: scores of the predictions, in the order of their images.
        is_correct: `[N]`: bit i is set if the prediction matches an object at `AP_THRESHOLDS[i]`.
        is_ignored: `[N]`: bit i is set if it is ignored at that threshold.
        objects: Number of ground-truth objects.

    Returns:
        `[10, 101]`: IoU thresholds by recall thresholds; -1 if there are no objects.
    """
    precision = np.full((len(AP_THRESHOLDS), len(_RECALLS)), 0.0 if objects else -1.0)
    if not objects:
        return precision
    order = np.argsort(-scores, kind="stable")
    is_correct, is_ignored = is_correct[order], is_ignored[order]
    for bit in range(len(AP_THRESHOLDS)):
        right = np.cumsum(is_correct >> bit & 1, dtype=np.float64)
        all_of_them = np.cumsum(~is_ignored >> bit & 1, dtype=np.float64)
        reached = right / np.maximum(all_of_them, 1)
        reached = np.maximum.accumulate(reached[::-1])[::-1]
        places = np.searchsorted(right / objects, _RECALLS, side="left")
        is_reached = places < len(reached)
        precision[bit, is_reached] = reached[places[is_reached]]
    return precision
