"""How far scores are probabilities: the precision of predictions by their score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

__all__ = ["Calibration", "ScoreBin", "calibrate"]

BINS = 10
"""Number of bins of equal width, from 0 to 1."""


class ScoreBin(BaseModel):
    """Predictions with similar scores.

    Attributes:
        lowest: Lower end of the bin, included.
        highest: Upper end of the bin, included in the last bin only.
        count: Number of predictions, at least one.
        mean_score: The mean of their scores.
        precision: The share that are true positives. It equals the mean score if scores are probabilities.
    """

    model_config = ConfigDict(frozen=True)

    lowest: float
    highest: float
    count: int
    mean_score: float
    precision: float


class Calibration(BaseModel):
    """The reliability curve of scores.

    Attributes:
        bins: The bins with predictions, in ascending order of score.
        expected_error: The expected calibration error, 0 to 1: the difference of precision and mean score,
            averaged over all predictions (Guo et al.: On Calibration of Modern Neural Networks, ICML 2017).
    """

    model_config = ConfigDict(frozen=True)

    bins: tuple[ScoreBin, ...]
    expected_error: float


def calibrate(scores: NDArray[np.float64], is_correct: NDArray[np.bool_]) -> Calibration | None:
    """Compute the reliability curve of predictions.

    Args:
        scores: `[N]`: their scores.
        is_correct: `[N]`: whether each is a true positive.

    Returns:
        None without predictions, or if a score is not between 0 and 1.
    """
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    counts, sums, right = _by_bin(scores, is_correct)
    filled = np.flatnonzero(counts)
    bins = tuple(
        ScoreBin(
            lowest=place / BINS,
            highest=(place + 1) / BINS,
            count=int(counts[place]),
            mean_score=float(sums[place] / counts[place]),
            precision=float(right[place] / counts[place]),
        )
        for place in filled.tolist()
    )
    return Calibration(bins=bins, expected_error=float(np.abs(right - sums).sum() / len(scores)))


def _by_bin(
    scores: NDArray[np.float64], is_correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`[BINS]` each: the number of predictions, the sum of scores, the number of true positives."""
    place = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts, sums, right = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    np.add.at(counts, place, 1)
    np.add.at(sums, place, scores)
    np.add.at(right, place, is_correct)
    return counts, sums, right
