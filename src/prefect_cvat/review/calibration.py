"""The probability that a shape is right, learned from corrections.

It is a logistic regression on the score (as log-odds), the label, the size, whether the shape is at the edge
of the image, and its overlap with a shape of higher score. Without corrections the probability is the score.
Each coefficient has a normal prior around that, as if some shapes had been seen already: ten corrections move
it a little, and a thousand decide. For six coefficients and a prior of their own, Newton's method on grouped
shapes is a few lines; scikit-learn has no prior other than zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.geometry.bounding_box import BoundingBox, area
from prefect_cvat.review.evidence import (
    OVERLAP_STEPS,
    SCORE_STEPS,
    SMALLEST_AREA,
    Evidence,
    ShapeGroup,
    is_at_edge,
)
from prefect_cvat.review.uncertainty import ShapeJudge

__all__ = ["Calibration", "ShapeProbability", "fit_calibration"]

TYPICAL_AREA = 0.02
"""The fraction of the image with which areas are compared before any shape was seen."""

EXTREME_SCORE = 0.995
"""Scores beyond this, and below 1 minus this, count as this where a calibration is fitted."""

WEIGHTS = {"bias": 1.0, "score": 4.0, "area": 20.0, "edge": 20.0, "overlap": 4.0}
"""How strongly each coefficient is held at its prior: the inverse variance of the prior."""

LABEL_WEIGHT = 4.0

MAX_STEPS = 50

Array = npt.NDArray[np.float64]


class Calibration(BaseModel):
    """The coefficients of the log-odds that a shape is right; the defaults are the prior.

    Attributes:
        bias: What is added for every shape.
        score: For the log-odds of its score.
        area: For the natural logarithm of its share of the image over `typical_area`.
        edge: For a shape that touches the edge of the image.
        overlap: For its IoU with a shape of higher score, if that is at least 0.5.
        labels: For each label of the task, by name.
        typical_area: The geometric mean of the shares of the image of the shapes that were learned from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    bias: float = 0.0
    score: float = 1.0
    area: float = 0.0
    edge: float = 0.0
    overlap: float = -2.0
    labels: dict[str, float] = Field(default_factory=dict)
    typical_area: float = Field(default=TYPICAL_AREA, gt=0, le=1)

    def of_labels(self, names: Mapping[int, str]) -> ShapeProbability:
        """The calibration for a task.

        Args:
            names: The names of its labels, by id.
        """
        return ShapeProbability(
            self, {label_id: self.labels.get(name, 0.0) for label_id, name in names.items()}
        )

    def score_at(self, probability: float, label: str) -> float:
        """The score from which a shape of typical size is right with this probability, 0 to 1.

        Args:
            probability: Above 0 and below 1.
            label: The name of the label.
        """
        if self.score <= 0:  # a higher score does not make a shape more likely to be right
            return 0.0
        log_odds = math.log(probability / (1 - probability)) - self.bias - self.labels.get(label, 0.0)
        return _probability(log_odds / self.score)


class ShapeProbability:
    """The probability that a shape of a task is right.

    Args:
        calibration: The calibration.
        labels: The coefficients of the task's labels, by label id.
    """

    __slots__ = ("_calibration", "_labels")

    def __init__(self, calibration: Calibration, labels: Mapping[int, float]) -> None:
        self._calibration = calibration
        self._labels = labels

    def at_typical_size(self, label_id: int, score: float) -> float:
        """The probability for a shape of typical size inside the image that overlaps with no other one."""
        of = self._calibration
        return _probability(of.bias + self._labels.get(label_id, 0.0) + of.score * _log_odds(score))

    def on_image(self, width: int, height: int) -> ShapeJudge:
        """The probability for shapes on an image of this size, in pixels.

        Returns:
            A function of label id, score, bounding box in pixels, and IoU with a shape of higher score (0 if
            none is at least 0.5).
        """
        of, labels = self._calibration, self._labels

        def judge(label_id: int, score: float, box: BoundingBox, iou: float) -> float:
            share = max(area(box) / (width * height), SMALLEST_AREA)
            log_odds = of.bias + labels.get(label_id, 0.0) + of.score * _log_odds(score) + of.overlap * iou
            log_odds += of.area * math.log(share / of.typical_area) + of.edge * is_at_edge(box, width, height)
            return _probability(log_odds)

        return judge


def fit_calibration(evidence: Evidence) -> Calibration:
    """Learn a calibration from shapes that somebody has looked at.

    Args:
        evidence: The shapes. Without any the result is the prior, `Calibration()`.
    """
    labels = sorted({group.label for group, _, _ in evidence})
    if not evidence.total:
        return Calibration()
    area = _mean_log_area(evidence)
    found = _Fit(evidence, labels, area).most_likely()
    own = dict(zip(WEIGHTS, found.tolist(), strict=False))
    by_label = dict(zip(labels, found[len(WEIGHTS) :].tolist(), strict=True))
    return Calibration(**own, labels=by_label, typical_area=math.exp(area))


class _Fit:
    """The coefficients with the highest posterior: those of `WEIGHTS`, then one for each label."""

    def __init__(self, evidence: Evidence, labels: Sequence[str], typical_log_area: float) -> None:
        number = {label: index for index, label in enumerate(labels)}
        rows = list(evidence)
        self._features = np.array([_features(group, typical_log_area) for group, _, _ in rows])
        self._label = np.array([number[group.label] for group, _, _ in rows])
        self._right = np.array([right for _, right, _ in rows], dtype=np.float64)
        self._total = np.array([total for _, _, total in rows], dtype=np.float64)
        start = Calibration()
        self._prior = np.array([getattr(start, name) for name in WEIGHTS] + [0.0] * len(labels))
        self._weights = np.array([*WEIGHTS.values(), *[LABEL_WEIGHT] * len(labels)])

    def most_likely(self) -> Array:
        """Newton's method; a step that is too long is halved."""
        found = self._prior.copy()
        loss = self._loss(found)
        for _ in range(MAX_STEPS):
            step = self._step(found)
            while (new := self._loss(found - step)) > loss + 1e-9:
                step /= 2
            found, loss = found - step, new
            if np.abs(step).max() < 1e-9:
                break
        return found

    def _log_odds(self, found: Array) -> Array:
        count = len(WEIGHTS)
        log_odds: Array = self._features @ found[:count] + found[count:][self._label]
        return log_odds

    def _loss(self, found: Array) -> float:
        log_odds = self._log_odds(found)
        likelihood = self._total * np.logaddexp(0, log_odds) - self._right * log_odds
        return float(likelihood.sum() + (self._weights * (found - self._prior) ** 2).sum() / 2)

    def _step(self, found: Array) -> Array:
        """The gradient over the curvature. A row has one label, so rows are summed by label."""
        count, labels = len(WEIGHTS), len(found) - len(WEIGHTS)
        probability = 1 / (1 + np.exp(-np.clip(self._log_odds(found), -30, 30)))
        excess = self._total * probability - self._right
        variance = self._total * probability * (1 - probability)
        weighted = self._features * variance[:, None]
        by_label = [np.bincount(self._label, column, labels) for column in weighted.T]
        gradient = np.concatenate([excess @ self._features, np.bincount(self._label, excess, labels)])
        curvature = np.diag(self._weights)
        curvature[:count, :count] += weighted.T @ self._features
        curvature[:count, count:] = by_label
        curvature[count:, :count] = np.transpose(by_label)
        curvature[range(count, len(found)), range(count, len(found))] += by_label[0]  # that of the bias
        step: Array = np.linalg.solve(curvature, gradient + self._weights * (found - self._prior))
        return step


def _mean_log_area(evidence: Evidence) -> float:
    """The mean of the natural logarithms of the shapes' shares of the image; boxes may be larger than it."""
    total = sum(count for _, _, count in evidence)
    return math.log(2) * sum(min(group.area, 0) * count for group, _, count in evidence) / total


def _features(group: ShapeGroup, typical_log_area: float) -> tuple[float, ...]:
    score = min(max(group.score / SCORE_STEPS, 1 - EXTREME_SCORE), EXTREME_SCORE)
    area = group.area * math.log(2) - typical_log_area
    return 1.0, _log_odds(score), area, float(group.at_edge), group.overlap / OVERLAP_STEPS


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(log_odds, 30.0), -30.0)))


def _log_odds(score: float) -> float:
    score = min(max(score, 1e-9), 1 - 1e-9)
    return math.log(score / (1 - score))
