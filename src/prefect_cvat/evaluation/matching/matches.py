"""Matches predictions with ground-truth objects as COCO does: greedily, highest score first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset, Items
from prefect_cvat.evaluation.matching.overlaps import Overlaps, find_overlaps

__all__ = ["AP_THRESHOLDS", "SIZES", "Matches", "Ranked", "match_all"]

AP_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds of COCO's average precision."""

SIZES = {
    "all": (0.0, np.inf),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""COCO's ranges of areas in square pixels, both ends included."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Matches of N predictions with M ground-truth objects.

    Attributes:
        object_of: `[N]`: index of the matched object of the same label; -1 for none.
        similarity: `[N]`: IoU (or OKS) with the matched object; 0 for none.
        is_ignored: `[N]`: whether the prediction matches an ignored object; then it is neither a true nor a
            false positive.
        confused_with: `[N]`: index of a matched object of another label; -1 for none, for true positives,
            and for predictions below the score threshold.
        counts: `[N]`: whether the score reaches the score threshold.
        image: `[N]`: image id of the prediction.
        is_detected: `[M]`: whether a prediction above the score threshold matches the object.
        is_evaluated: `[M]`: False for ignored objects.
        object_image: `[M]`: image id of the object.
    """

    object_of: NDArray[np.int64]
    similarity: NDArray[np.float64]
    is_ignored: NDArray[np.bool_]
    confused_with: NDArray[np.int64]
    counts: NDArray[np.bool_]
    image: NDArray[Any]
    is_detected: NDArray[np.bool_]
    is_evaluated: NDArray[np.bool_]
    object_image: NDArray[Any]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the matches of parts of a data set; indices become those in the whole data set."""
        if len(parts) == 1:
            return parts[0]
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        first = 0
        for place, part in enumerate(parts):
            for name in ("object_of", "confused_with"):
                own = columns[name][place]
                columns[name][place] = np.where(own >= 0, own + first, -1)
            first += len(part.is_evaluated)
        return cls(**{name: np.concatenate(column) for name, column in columns.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Predictions for average precision, ordered by image, then by descending score.

    Attributes:
        place: `[N]`: index of the prediction.
        is_correct: `[S, N]`: for each of `SIZES`, bit i is set if the prediction matches an object at
            `AP_THRESHOLDS[i]`.
        is_ignored: `[S, N]`: bit i is set if the prediction is ignored at that threshold.
    """

    place: NDArray[np.int64]
    is_correct: NDArray[np.uint16]
    is_ignored: NDArray[np.uint16]


def match_all(
    data: Dataset, iou_threshold: float, score_threshold: float, max_detections: int
) -> tuple[Matches, Ranked]:
    """Match all predictions: first with objects of the same label, then the remaining ones across labels.

    Args:
        data: Ground truth and predictions.
        iou_threshold: Minimum IoU (or OKS) of a match.
        score_threshold: Minimum score for `confused_with`, `counts` and `is_detected`.
        max_detections: Maximum number of predictions per label and image for average precision.

    Raises:
        ResponseTooLargeError: Too many pairs overlap.
    """
    found, is_evaluated = data.predictions, ~data.truth.is_ignored
    order = np.lexsort((-found.scores, found.label, found.image))
    rank = _ranks(found, order)
    objects = np.arange(len(data.truth))
    overlaps = find_overlaps(data, order, objects, min(iou_threshold, AP_THRESHOLDS[0]))
    taken = overlaps.match(overlaps.reaching(iou_threshold), ~is_evaluated, data.truth.is_crowd)
    is_ignored = _of(~is_evaluated, taken, False)
    object_of = np.where(is_ignored, -1, taken)
    counts = found.scores >= score_threshold
    is_detected = np.zeros(len(is_evaluated), dtype=bool)
    is_detected[object_of[counts & (object_of >= 0)]] = True
    is_false_positive = counts & ~is_ignored & (object_of < 0)
    by_image = np.lexsort((-found.scores, found.image))
    false_positives = by_image[is_false_positive[by_image]]
    missed = np.flatnonzero(is_evaluated & ~is_detected)
    matches = Matches(
        object_of=object_of,
        similarity=np.where(object_of >= 0, overlaps.similarity_of(object_of), 0.0),
        is_ignored=is_ignored,
        confused_with=_match_across_labels(data, false_positives, missed, iou_threshold),
        counts=counts,
        image=data.image_ids[found.image],
        is_detected=is_detected,
        is_evaluated=is_evaluated,
        object_image=data.image_ids[data.truth.image],
    )
    by_image = np.lexsort((rank, found.image))
    return matches, _rank(data, overlaps, by_image[rank[by_image] < max_detections])


def _ranks(found: Items, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """`[N]`: how many predictions of the same image and label have a higher score."""
    image, label = found.image[order], found.label[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(image) != 0) | (np.diff(label) != 0)
    places = np.arange(len(order))
    rank = np.zeros(len(order), dtype=np.int64)
    rank[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return rank


def _rank(data: Dataset, overlaps: Overlaps, order: NDArray[np.int64]) -> Ranked:
    right, ignored = (np.zeros((len(SIZES), len(data.predictions)), np.uint16) for _ in range(2))
    unused = [
        data.truth.is_ignored | (data.truth.area < low) | (data.truth.area > high)
        for low, high in SIZES.values()
    ]
    outside = [(data.predictions.area < low) | (data.predictions.area > high) for low, high in SIZES.values()]
    for bit, threshold in enumerate(AP_THRESHOLDS):
        candidates = overlaps.reaching(threshold)
        for size in range(len(SIZES)):
            taken = overlaps.match(candidates, unused[size], data.truth.is_crowd)
            is_ignored = np.where(taken >= 0, _of(unused[size], taken, False), outside[size])
            right[size] |= ((taken >= 0) & ~is_ignored).astype(np.uint16) << np.uint16(bit)
            ignored[size] |= is_ignored.astype(np.uint16) << np.uint16(bit)
    return Ranked(order, right[:, order], ignored[:, order])


def _of(values: NDArray[np.bool_], places: NDArray[np.int64], otherwise: bool) -> NDArray[np.bool_]:
    """The values at places; another one where a place is -1."""
    return np.append(values, otherwise)[places]


def _match_across_labels(
    data: Dataset, false_positives: NDArray[np.int64], missed: NDArray[np.int64], iou_threshold: float
) -> NDArray[np.int64]:
    """Match false positives with missed objects of other labels, for the confusion matrix."""
    if data.iou_type == "keypoints":  # the keypoints of different labels cannot be compared
        return np.full(len(data.predictions), -1)
    none = np.zeros(len(data.truth), dtype=bool)
    overlaps = find_overlaps(data, false_positives, missed, iou_threshold, across_labels=True)
    return overlaps.match(overlaps.reaching(iou_threshold), none, none)
