"""Pairs of predictions and objects whose IoU (or OKS) reaches a threshold, as a sparse matrix.

The dense IoU matrix of a frame with thousands of shapes would take gigabytes, and is almost all zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset
from prefect_cvat.exceptions import ResponseTooLargeError

__all__ = ["Overlaps", "find_overlaps"]

_MAX_IOUS_AT_ONCE = 250_000
"""Maximum number of IoUs in memory at a time."""

_ROWS_AT_ONCE = 50_000
"""Number of pairs that are converted to Python objects at a time, to bound memory."""

_MAX_OVERLAPS = 1_000_000
"""Maximum number of overlapping pairs; plus ten for each prediction."""


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
    """

    prediction: NDArray[np.int64]
    truth: NDArray[np.int64]
    similarity: NDArray[np.float64]
    predictions: int

    def match(
        self, threshold: float, is_ignored: NDArray[np.bool_], is_crowd: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Match each prediction with the most similar object that is still unmatched.

        The rules are those of pycocotools 2.0.11 (`COCOeval.evaluateImg`): an ignored object is matched only
        if no other object reaches the threshold; a crowd can be matched several times; of equally similar
        objects, the last one is matched.

        Args:
            threshold: Minimum IoU or OKS, 0 to 1.
            is_ignored: `[M]`: whether the object is ignored.
            is_crowd: `[M]`: whether the object is a crowd; crowds are also ignored.

        Returns:
            `[N]`: index of the matched object; -1 for none.
        """
        found = np.full(self.predictions, -1)
        places = np.flatnonzero(self.similarity >= min(threshold, 1 - 1e-10))
        prediction, truth = self.prediction[places], self.truth[places]
        _, of_prediction, times = np.unique(prediction, return_inverse=True, return_counts=True)
        _, of_truth, object_counts = np.unique(truth, return_inverse=True, return_counts=True)
        is_alone = (times[of_prediction] == 1) & (object_counts[of_truth] == 1)
        found[prediction[is_alone]] = truth[is_alone]
        if not is_alone.all():
            left = ~is_alone
            self._match_greedily(found, places[left], is_ignored, is_crowd)
        return found

    def _match_greedily(
        self,
        found: NDArray[np.int64],
        places: NDArray[np.int64],
        is_ignored: NDArray[np.bool_],
        is_crowd: NDArray[np.bool_],
    ) -> None:
        taken: set[int] = set()
        last, best, best_similarity, best_counts = -1, -1, 0.0, False
        for prediction, place, similarity, ignored in self._rows(places, is_ignored):
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

    def _rows(
        self, places: NDArray[np.int64], is_ignored: NDArray[np.bool_]
    ) -> Iterator[tuple[int, int, float, bool]]:
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

    def similarity_of(self, object_of: NDArray[np.int64]) -> NDArray[np.float64]:
        """`[N]`: the similarity of each prediction with its matched object; 0 for none."""
        similarity = np.zeros(self.predictions)
        is_match = object_of[self.prediction] == self.truth
        similarity[self.prediction[is_match]] = self.similarity[is_match]
        return similarity


def find_overlaps(
    data: Dataset,
    predictions: Mapping[Any, Sequence[int]],
    objects: Mapping[Any, Sequence[int]],
    threshold: float,
) -> Overlaps:
    """Find pairs of a prediction and an object whose IoU (or OKS) reaches a threshold.

    Args:
        data: Ground truth and predictions.
        predictions: Indices of predictions by group, such as their image, in descending order of score.
        objects: Indices of objects by the same groups. Only pairs within a group are compared.
        threshold: Minimum IoU or OKS, 0 to 1.

    Raises:
        ResponseTooLargeError: There are too many pairs.
    """
    threshold = min(threshold, 1 - 1e-10)
    columns: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    count, max_pairs = 0, _MAX_OVERLAPS + 10 * len(data.predictions)
    for key, places in predictions.items():
        candidates = objects.get(key)
        if not candidates:
            continue
        size = max(1, _MAX_IOUS_AT_ONCE // len(candidates))
        own, theirs = np.array(places), np.array(candidates)
        truth = [data.truth[place] for place in candidates]
        for start in range(0, len(places), size):
            block = [data.predictions[place] for place in places[start : start + size]]
            similarity = _similarity(data, block, truth)
            rows, of_truth = np.nonzero(similarity >= threshold)
            columns.append((own[start + rows], theirs[of_truth], similarity[rows, of_truth]))
            count += len(rows)
            if count > max_pairs:
                raise ResponseTooLargeError(
                    f"more than {max_pairs} pairs of a prediction and an object overlap, on image"
                    f" {truth[0]['image_id']} and others; check for duplicates"
                )
    if not columns:
        return Overlaps(np.zeros(0, int), np.zeros(0, int), np.zeros(0), len(data.predictions))
    joined = [np.concatenate(column) for column in zip(*columns, strict=True)]
    return Overlaps(joined[0], joined[1], joined[2], len(data.predictions))


def _similarity(
    data: Dataset, predictions: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """`[N, M]`: IoU or OKS of each prediction with each object."""
    if data.iou_type == "keypoints":
        return _keypoint_similarity(predictions, truth, data.sigmas[truth[0]["category_id"]])
    from faster_coco_eval import mask  # imports OpenCV where there is one

    shape = "bbox" if data.iou_type == "bbox" else "rle"
    return np.asarray(
        mask.iou(
            [item[shape] for item in predictions],
            [item[shape] for item in truth],
            [item["iscrowd"] for item in truth],
        )
    )


def _keypoint_similarity(
    predictions: Sequence[Mapping[str, Any]],
    truth: Sequence[Mapping[str, Any]],
    sigmas: Sequence[float],
) -> NDArray[np.float64]:
    """`[N, M]`: OKS as in pycocotools 2.0.11 (`COCOeval.computeOks`)."""
    similarity = np.zeros((len(predictions), len(truth)))
    if not sigmas:
        return similarity
    variances = (2 * np.array(sigmas)) ** 2
    found = np.array([item["keypoints"] for item in predictions], dtype=np.float64)
    xs, ys = found[:, 0::3], found[:, 1::3]
    for column, item in enumerate(truth):
        keypoints = np.array(item["keypoints"], dtype=np.float64)
        is_seen = keypoints[2::3] > 0
        if is_seen.any():
            dx, dy = xs - keypoints[0::3], ys - keypoints[1::3]
        else:  # an object without keypoints is ignored; its distance is that from twice its box
            left, top, width, height = item["bbox"]
            dx = np.maximum(0, left - width - xs) + np.maximum(0, xs - left - 2 * width)
            dy = np.maximum(0, top - height - ys) + np.maximum(0, ys - top - 2 * height)
            is_seen = np.ones_like(is_seen)
        distance = (dx**2 + dy**2) / variances / (item["area"] + np.spacing(1)) / 2
        similarity[:, column] = np.exp(-distance[:, is_seen]).mean(axis=1)
    return similarity
