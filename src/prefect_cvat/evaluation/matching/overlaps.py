"""Pairs of predictions and objects whose IoU (or OKS) reaches a threshold, as a sparse matrix.

The dense IoU matrix of a frame with thousands of shapes would take gigabytes, and is almost all zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset
from prefect_cvat.evaluation.matching.similarity import Indices, similar_pairs
from prefect_cvat.exceptions import ResponseTooLargeError

__all__ = ["Candidates", "Overlaps", "find_overlaps"]

_ROWS_AT_ONCE = 50_000
"""Number of pairs that are converted to Python objects at a time, to bound memory."""

_MAX_OVERLAPS = 1_000_000
"""Maximum number of overlapping pairs; plus ten for each prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The pairs that reach a threshold.

    Attributes:
        alone: `[N]`: the object of each prediction that is in one pair only, with an object that is in one
            pair only; -1 for all other predictions.
        competing: Indices of all other pairs.
    """

    alone: Indices
    competing: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """P pairs of a prediction and an object.

    Pairs are grouped by prediction and ascend by object. Predictions that compete for an object are in
    descending order of score.

    Attributes:
        prediction: `[P]`: index of the prediction.
        truth: `[P]`: index of the object.
        similarity: `[P]`: IoU or OKS, 0 to 1.
        predictions: Number of all predictions, N.
        objects: Number of all objects, M.
    """

    prediction: Indices
    truth: Indices
    similarity: NDArray[np.float64]
    predictions: int
    objects: int

    def reaching(self, threshold: float) -> Candidates:
        """The pairs that reach a threshold, an IoU or OKS from 0 to 1."""
        alone = np.full(self.predictions, -1)
        places = np.flatnonzero(self.similarity >= min(threshold, 1 - 1e-10))
        prediction, truth = self.prediction[places], self.truth[places]
        times = np.bincount(prediction, minlength=self.predictions)
        object_times = np.bincount(truth, minlength=self.objects)
        is_alone = (times[prediction] == 1) & (object_times[truth] == 1)
        alone[prediction[is_alone]] = truth[is_alone]
        return Candidates(alone, places[~is_alone])

    def match(
        self, candidates: Candidates, is_ignored: NDArray[np.bool_], is_crowd: NDArray[np.bool_]
    ) -> Indices:
        """Match each prediction with the most similar object that is still unmatched.

        The rules are those of pycocotools 2.0.11 (`COCOeval.evaluateImg`): an ignored object is matched only
        if no other object reaches the threshold; a crowd can be matched several times; of equally similar
        objects, the last one is matched.

        Args:
            candidates: The pairs that reach the threshold.
            is_ignored: `[M]`: whether the object is ignored.
            is_crowd: `[M]`: whether the object is a crowd; crowds are also ignored.

        Returns:
            `[N]`: index of the matched object; -1 for none.
        """
        found = candidates.alone.copy()
        taken: set[int] = set()
        last, best, best_similarity, best_counts = -1, -1, 0.0, False
        for prediction, place, similarity, ignored in self._rows(candidates.competing, is_ignored):
            if prediction != last:
                if best >= 0:
                    found[last] = best
                    if not is_crowd[best]:
                        taken.add(best)
                last, best, best_similarity, best_counts = prediction, -1, 0.0, False
            if place in taken or (best_counts and ignored):
                continue
            if similarity >= best_similarity or (not ignored and not best_counts):
                best, best_similarity, best_counts = place, similarity, not ignored
        if best >= 0:
            found[last] = best
        return found

    def _rows(self, places: Indices, is_ignored: NDArray[np.bool_]) -> Iterator[tuple[int, int, float, bool]]:
        """Iterate over pairs: prediction, object, similarity, and whether the object is ignored."""
        for start in range(0, len(places), _ROWS_AT_ONCE):
            block = places[start : start + _ROWS_AT_ONCE]
            truth = self.truth[block]
            yield from zip(
                self.prediction[block].tolist(),
                truth.tolist(),
                self.similarity[block].tolist(),
                is_ignored[truth].tolist(),
                strict=True,
            )

    def similarity_of(self, object_of: Indices) -> NDArray[np.float64]:
        """`[N]`: the similarity of each prediction with its matched object; 0 for none."""
        similarity = np.zeros(self.predictions)
        is_match = object_of[self.prediction] == self.truth
        similarity[self.prediction[is_match]] = self.similarity[is_match]
        return similarity


def find_overlaps(
    data: Dataset, predictions: Indices, objects: Indices, threshold: float, *, across_labels: bool = False
) -> Overlaps:
    """Find pairs of a prediction and an object whose IoU (or OKS) reaches a threshold.

    Args:
        data: Ground truth and predictions.
        predictions: Indices of predictions, grouped by image and label (with `across_labels`, by image), in
            descending order of score.
        objects: Indices of objects.
        threshold: Minimum IoU or OKS, 0 to 1.
        across_labels: Compare different labels too.

    Raises:
        ResponseTooLargeError: There are too many pairs.
    """
    count, max_pairs = 0, _MAX_OVERLAPS + 10 * len(data.predictions)
    blocks = []
    threshold = min(threshold, 1 - 1e-10)
    for block in similar_pairs(data, predictions, objects, threshold, across_labels=across_labels):
        blocks.append(block)
        count += len(block[0])
        if count > max_pairs:
            image = data.image_ids[data.truth.image[block[1][0]]]
            raise ResponseTooLargeError(
                f"more than {max_pairs} pairs of a prediction and an object overlap, on image"
                f" {image} and others; check for duplicates"
            )
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    joined = [np.concatenate(column) for column in zip(empty, *blocks, strict=True)]
    return Overlaps(joined[0], joined[1], joined[2], len(data.predictions), len(data.truth))
