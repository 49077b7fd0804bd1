"""Non-maximum suppression of boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.geometry.iou import box_iou

__all__ = ["non_maximum_suppression"]


def non_maximum_suppression(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    iou: float,
    limit: int,
) -> NDArray[np.int64]:
    """Select the best of overlapping boxes of each label, as `torchvision.ops.batched_nms` does.

    Args:
        boxes: `[N, 4]`: left, top, right, bottom, in pixels.
        scores: `[N]`
        labels: `[N]`; boxes of different labels do not suppress each other.
        iou: A box is dropped if its IoU with a better one of its label is greater than this.
        limit: The maximum number of boxes.

    Returns:
        The indexes of the boxes to keep, the best first.
    """
    remaining = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(remaining) and len(kept) < limit:
        best, remaining = remaining[0], remaining[1:]
        kept.append(int(best))
        overlaps = box_iou(boxes[best : best + 1], boxes[remaining])[0] > iou
        remaining = remaining[~(overlaps & (labels[remaining] == labels[best]))]
    return np.array(kept, dtype=np.int64)
