"""Metrics of an evaluation on resampled frames, for paired bootstrap intervals.

A frame that is drawn several times counts as often. So a resample is a weight for each frame, and nothing is
matched again: matches do not depend on other frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.matching.matches import AP_THRESHOLDS
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.precision import RECALLS

__all__ = ["METRICS", "Metric", "ResampledMetrics", "draw_weights"]

Metric = Literal["ap", "ap50", "precision", "recall", "f1"]
"""A metric that is resampled, by its name in `LabelEvaluation`."""

METRICS: tuple[Metric, ...] = get_args(Metric)

_MAX_NUMBERS = 100_000
"""Maximum size of an array of weights, unless one resample has more; larger ones leave the cache."""


def draw_weights(images: int, resamples: int, seed: int, largest: int) -> Iterator[NDArray[np.float64]]:
    """Draw how often each frame occurs in each resample.

    Args:
        images: Number of frames, at least one.
        resamples: Number of resamples.
        seed: The seed; the same seed draws the same resamples.
        largest: Number of predictions or objects of the label with most of them, to bound memory.

    Yields:
        `[R, images]`: the weights of some of the resamples.
    """
    generator = np.random.default_rng(seed)
    at_once = max(1, _MAX_NUMBERS // max(images, largest))
    shares = np.full(images, 1 / images)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        yield generator.multinomial(images, shares, size=size).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _LabelColumns:
    """The predictions and objects of one label, each with the index of its frame.

    Attributes:
        ranked: Frames of the predictions for average precision, in descending order of score.
        found: For each IoU threshold, the places of true positives in `ranked`.
        ignored: For each IoU threshold, the places of ignored predictions in `ranked`.
        objects: Frames of the objects.
        true_positives: Frames of the true positives at the score threshold.
        false_positives: Frames of the false positives.
    """

    ranked: NDArray[np.int64]
    found: list[NDArray[np.int64]]
    ignored: list[NDArray[np.int64]]
    objects: NDArray[np.int64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]

    @property
    def size(self) -> int:
        return max(map(len, (self.ranked, self.objects, self.true_positives, self.false_positives)))

    def average_precision(
        self, weights: NDArray[np.float64], objects: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`[R]`: AP and AP50; NaN where no object was drawn."""
        own = weights[:, self.ranked]
        running = np.cumsum(own, axis=1)
        by_threshold = np.zeros((len(self.found), len(weights)))
        total = np.maximum(objects, 1)[:, None]
        for threshold, (found, ignored) in enumerate(zip(self.found, self.ignored, strict=True)):
            if not len(found):
                continue
            right = np.cumsum(own[:, found], axis=1)
            counted = running[:, found]
            if len(ignored):
                kept = own.copy()
                kept[:, ignored] = 0
                counted = np.cumsum(kept, axis=1)[:, found]
            precision = np.divide(right, counted, out=np.zeros_like(right), where=counted > 0)
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            reached = np.searchsorted(RECALLS, right / total, side="right")
            steps = np.diff(reached, axis=1, prepend=0)
            by_threshold[threshold] = (precision * steps).sum(axis=1) / len(RECALLS)
        by_threshold[:, objects == 0] = np.nan
        return by_threshold.mean(axis=0), by_threshold[0]


class ResampledMetrics:
    """Computes the metrics of an evaluation with weights for its frames.

    Args:
        evaluation: The evaluation.
        images: The ids of all evaluated images, ascending.
    """

    def __init__(self, evaluation: Evaluation, images: NDArray[np.int64]) -> None:
        columns, matches = evaluation.columns, evaluation.matches
        ranked = columns.ranked
        image, object_image = (np.searchsorted(images, ids) for ids in (matches.image, matches.object_image))
        is_correct, is_counted = matches.object_of >= 0, matches.counts & ~matches.is_ignored
        self.labels: dict[str, _LabelColumns] = {}
        by_label = columns.ranked_by_label()
        bits = range(len(AP_THRESHOLDS))
        for place, name in enumerate(columns.names):
            if name not in evaluation.by_label:
                continue
            own, of_label = by_label[place], is_counted & (columns.label == place)
            correct, ignored = ranked.is_correct[0, own], ranked.is_ignored[0, own]
            self.labels[name] = _LabelColumns(
                ranked=image[ranked.place[own]],
                found=[np.flatnonzero(correct >> bit & 1) for bit in bits],
                ignored=[np.flatnonzero(ignored >> bit & 1) for bit in bits],
                objects=object_image[matches.is_evaluated & (columns.object_label == place)],
                true_positives=image[of_label & is_correct],
                false_positives=image[of_label & ~is_correct],
            )

    @property
    def largest(self) -> int:
        """Number of predictions or objects of the label with most of them."""
        return max((label.size for label in self.labels.values()), default=1)

    def frames_of(self, name: str | None) -> NDArray[np.int64]:
        """The indices of the frames with objects or predictions of a label; for None of any label."""
        labels = self.labels.values() if name is None else [self.labels[name]] if name in self.labels else []
        parts = [
            frames for each in labels for frames in (each.objects, each.true_positives, each.false_positives)
        ]
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))

    def measure(self, weights: NDArray[np.float64]) -> dict[str | None, NDArray[np.float64]]:
        """Compute the metrics.

        Args:
            weights: `[R, images]`: how often each frame occurs in each resample.

        Returns:
            `[R, 5]`: `METRICS` by label, and for None those of all labels together; NaN where one is
            undefined.
        """
        measured: dict[str | None, NDArray[np.float64]] = {}
        sums = np.zeros((3, len(weights)))
        for name, label in self.labels.items():
            counts = np.stack(
                [
                    weights[:, frames].sum(axis=1)
                    for frames in (label.objects, label.true_positives, label.false_positives)
                ]
            )
            sums += counts
            measured[name] = np.stack([*label.average_precision(weights, counts[0]), *_rates(counts)], axis=1)
        aps = np.stack([values[:, :2] for values in measured.values()]) if measured else np.zeros((0, 0, 2))
        measured[None] = np.concatenate(
            [_mean_of_defined(aps, len(weights)), np.stack(_rates(sums), axis=1)], axis=1
        )
        return measured


def _rates(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """`[R]`: precision, recall and F1 for numbers of objects, true positives and false positives."""
    objects, right, wrong = counts
    return (
        _ratio(right, right + wrong),
        _ratio(right, objects),
        _ratio(2 * right, objects + right + wrong),
    )


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(len(part), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean_of_defined(aps: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    """`[R, 2]`: the mean over labels, without labels of which no object was drawn."""
    if not len(aps):
        return np.full((resamples, 2), np.nan)
    is_defined = ~np.isnan(aps)
    counts = is_defined.sum(axis=0)
    sums = np.where(is_defined, aps, 0.0).sum(axis=0)
    mean = np.full((resamples, 2), np.nan)
    np.divide(sums, counts, out=mean, where=counts > 0)
    return mean
