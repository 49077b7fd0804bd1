"""Precision and recall as functions of the score threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, computed_field

__all__ = ["Counts", "Objective", "ScoreCurve", "f1_of"]

Objective: TypeAlias = Callable[[float, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""What thresholds are worth, from the number of objects, and the true and false positives at each, `[T]`."""


def f1_of(truth: float, found: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1, see `Objective`."""
    return 2 * found / (truth + found + wrong)


WINDOW = 0.4
"""Half-width of the smoothing window, in standard deviations of the scores of true positives."""

WINDOW_STEPS = 15
"""Number of thresholds sampled in half of the window."""


class Counts(BaseModel):
    """Counts of ground-truth objects and predictions at one threshold.

    Attributes:
        truth: Number of ground-truth objects.
        true_positives: Number of predictions that match an object.
        false_positives: Number of predictions that match no object.
    """

    model_config = ConfigDict(frozen=True)

    truth: int
    true_positives: int
    false_positives: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def false_negatives(self) -> int:
        """Number of objects without a matching prediction."""
        return self.truth - self.true_positives

    @computed_field  # type: ignore[prop-decorator]
    @property
    def precision(self) -> float | None:
        """True positives per prediction, 0 to 1; None without predictions."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def recall(self) -> float | None:
        """True positives per ground-truth object, 0 to 1; None without objects."""
        return _ratio(self.true_positives, self.truth)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0 to 1; None without objects and predictions."""
        return _ratio(2 * self.true_positives, self.truth + self.true_positives + self.false_positives)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCurve:
    """True and false positives at each score threshold. Predictions below the threshold are ignored.

    Attributes:
        truth: Number of ground-truth objects.
        scores: `[T]`: the distinct scores, in descending order.
        true_positives: `[T]`: number of true positives with each score as the threshold.
        false_positives: `[T]`: number of false positives with each score as the threshold.
    """

    truth: float
    scores: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    false_positives: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike, is_correct: ArrayLike, truth: int) -> Self:
        """Compute the curve from scored predictions.

        Args:
            scores: `[N]`: scores of the predictions, in any order.
            is_correct: `[N]`: whether each prediction matches an object.
            truth: Number of ground-truth objects.
        """
        values = np.asarray(scores, dtype=np.float64)
        right = np.asarray(is_correct, dtype=bool)
        order = np.argsort(-values, kind="stable")
        values, right = values[order], right[order]
        ends = np.flatnonzero(np.append(values[1:] != values[:-1], values.size > 0))  # last of equal scores
        found, wrong = np.cumsum(right, dtype=np.float64), np.cumsum(~right, dtype=np.float64)
        return cls(truth, values[ends], found[ends], wrong[ends])

    @property
    def precision(self) -> NDArray[np.float64]:
        """`[T]`: precision with each score as the threshold."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> NDArray[np.float64]:
        """`[T]`: recall with each score as the threshold; zeros if there are no objects."""
        return self.true_positives / max(self.truth, 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """`[T]`: F1 with each score as the threshold."""
        return f1_of(self.truth, self.true_positives, self.false_positives)

    def counts_at(self, threshold: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """True and false positives at a threshold, `[1]` each; with a prior they are no whole numbers."""
        return self._at(np.array([threshold]))

    def at(self, threshold: float) -> Counts:
        """The counts at a threshold."""
        found, wrong = self.counts_at(threshold)
        return Counts(truth=int(self.truth), true_positives=int(found[0]), false_positives=int(wrong[0]))

    def with_prior(self, prior: Self, objects: float) -> Self:
        """Add a prior: the counts of another curve, scaled to a number of objects.

        Args:
            prior: The other curve, such as that of all labels together for a label with few objects.
            objects: Number of objects that the prior counts as.
        """
        weight = objects / max(prior.truth, 1)
        scores = np.unique(np.concatenate([self.scores, prior.scores]))[::-1]
        found, wrong = self._at(scores)
        others_found, others_wrong = prior._at(scores)
        return type(self)(
            self.truth + weight * prior.truth,
            scores,
            found + weight * others_found,
            wrong + weight * others_wrong,
        )

    def best_threshold(self, objective: Objective = f1_of) -> float | None:
        """The threshold that is worth most, the highest of ties; None without true positives.

        Args:
            objective: What a threshold is worth; by default F1.
        """
        if not self.true_positives.any():
            return None
        worth = objective(self.truth, self.true_positives, self.false_positives)
        return self._between(int(np.argmax(worth)))

    def smoothed_best_threshold(self, objective: Objective = f1_of) -> float | None:
        """The threshold that is worth most after smoothing the counts over a window of thresholds.

        Smoothing avoids a peak that depends on a few scores, which will differ on other images.

        Args:
            objective: What a threshold is worth; by default F1.

        Returns:
            The middle of the range of best thresholds, of several such ranges the highest; None without true
            positives.
        """
        if not self.true_positives.any():
            return None
        right = np.diff(self.true_positives, prepend=0.0)
        mean = np.average(self.scores, weights=right)
        step = WINDOW * float(np.sqrt(np.average((self.scores - mean) ** 2, weights=right))) / WINDOW_STEPS
        if step < 1e-6:  # all true positives have one score
            return self.best_threshold(objective)
        thresholds = np.arange(-WINDOW_STEPS * step, self.scores[0] + WINDOW_STEPS * step, step)
        window = np.full(2 * WINDOW_STEPS + 1, 1 / (2 * WINDOW_STEPS + 1))
        found, wrong = (np.convolve(counts, window, mode="valid") for counts in self._at(thresholds))
        worth = objective(self.truth, found, wrong)
        best = np.flatnonzero(np.isclose(worth, worth.max(), rtol=1e-9))
        start = np.flatnonzero(np.diff(best, prepend=-2) > 1)[-1]
        return float(thresholds[WINDOW_STEPS + best[start:]].mean())

    def threshold_at_precision(self, wanted: float) -> float | None:
        """The lowest threshold with at least this precision, and so with the highest recall at it.

        Returns:
            None if no threshold reaches the precision.
        """
        good = np.flatnonzero((self.precision >= wanted) & (self.true_positives > 0))
        return self._between(int(good[-1])) if good.size else None

    def _at(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        places = np.searchsorted(-self.scores, -thresholds, side="right")
        return np.append(0.0, self.true_positives)[places], np.append(0.0, self.false_positives)[places]

    def _between(self, place: int) -> float:
        """The midpoint between a score and the next lower one."""
        below = self.scores[place + 1] if place + 1 < self.scores.size else 0.0
        halfway = float((self.scores[place] + below) / 2)
        return halfway if halfway > below else float(self.scores[place])


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
