"""The seconds that correcting detections would take, by what an evaluation knows about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.options.correction_options import CorrectionSeconds

__all__ = ["ExpectedTime", "SecondsByDetection", "expected_time", "seconds_by_detection"]

DRAGS = 2
"""Times that a person drags a corner of any other box: one for two edges."""


@dataclass(frozen=True, slots=True)
class SecondsByDetection:
    """The mean seconds that a detection saves or costs.

    Attributes:
        right: Seconds that a true positive saves, beyond those to look at it and to move it.
        wrong: Seconds that a false positive costs: to look at it and to delete it.
    """

    right: float
    wrong: float


@dataclass(frozen=True, slots=True)
class ExpectedTime:
    """The seconds for the objects of an evaluation.

    Attributes:
        by_hand: Seconds to draw all objects.
        with_function: Seconds to correct the detections, and to draw the missed objects.
    """

    by_hand: float
    with_function: float


def seconds_by_detection(evaluation: Evaluation, seconds: CorrectionSeconds) -> SecondsByDetection:
    """The mean seconds that true and false positives of all labels save and cost."""
    matches = evaluation.matches
    similarity = matches.similarity[matches.object_of >= 0]
    move = float(_move(similarity, evaluation, seconds).mean()) if similarity.size else 0.0
    return SecondsByDetection(
        right=_draw(evaluation, seconds) - seconds.confirm - move,
        wrong=seconds.confirm + seconds.delete_shape,
    )


def expected_time(evaluation: Evaluation, seconds: CorrectionSeconds) -> ExpectedTime:
    """The seconds to correct all detections above the score threshold of the evaluation.

    A detection that only has the wrong label is relabelled. Looking for what was missed takes the same time
    with and without detections, and is not counted.
    """
    matches = evaluation.matches
    draw = _draw(evaluation, seconds)
    counts = matches.counts & ~matches.is_ignored
    is_right = counts & (matches.object_of >= 0)
    is_confused = counts & ~is_right & (matches.confused_with >= 0)
    is_wrong = counts & ~is_right & ~is_confused
    correct = seconds.confirm * int(is_right.sum()) + float(
        _move(matches.similarity[is_right], evaluation, seconds).sum()
    )
    relabel = seconds.confirm + seconds.change_label + min(DRAGS * seconds.move_edge, draw)
    correct += relabel * int(is_confused.sum())
    correct += (seconds.confirm + seconds.delete_shape) * int(is_wrong.sum())
    missed = evaluation.truth - int(is_right.sum()) - int(is_confused.sum())
    return ExpectedTime(by_hand=draw * evaluation.truth, with_function=correct + draw * missed)


def _draw(evaluation: Evaluation, seconds: CorrectionSeconds) -> float:
    """The seconds to draw an object. Skeletons count as boxes: their visible keypoints are not known."""
    return seconds.draw_outline if evaluation.iou_type == "segm" else seconds.draw_box


def _move(
    similarity: NDArray[np.float64], evaluation: Evaluation, seconds: CorrectionSeconds
) -> NDArray[np.float64]:
    """The seconds to move each shape with this IoU to its place: at most those to draw it."""
    draw = _draw(evaluation, seconds)
    if evaluation.iou_type == "segm":
        needed = np.maximum((1 - similarity) * draw, seconds.move_edge)
    else:
        needed = np.full(similarity.shape, DRAGS * seconds.move_edge)
    return np.where(similarity >= seconds.accepted_iou, 0.0, np.minimum(needed, draw))
