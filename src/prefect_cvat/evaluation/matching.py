"""Matches predictions with ground-truth objects as COCO does: greedily, highest score first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset
from prefect_cvat.evaluation.overlaps import Overlaps, find_overlaps

__all__ = ["AP_THRESHOLDS", "Matches", "Ranked", "match_all"]

AP_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds of COCO's average precision."""


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
        is_correct: `[N]`: bit i is set if the prediction matches an object at `AP_THRESHOLDS[i]`.
        is_ignored: `[N]`: bit i is set if it matches an ignored object at that threshold.
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
    scores = np.array([item["score"] for item in data.predictions], dtype=np.float64)
    is_evaluated = ~np.array([item["ignore"] for item in data.truth], dtype=bool)
    is_crowd = np.array([item["iscrowd"] for item in data.truth], dtype=bool)
    found, rank = _by_pair(data.predictions), np.zeros(len(scores), np.int64)
    for places in found.values():
        places.sort(key=lambda place: -data.predictions[place]["score"])
        rank[places] = np.arange(len(places))
    overlaps = find_overlaps(data, found, _by_pair(data.truth), min(iou_threshold, AP_THRESHOLDS[0]))
    taken = overlaps.match(iou_threshold, ~is_evaluated, is_crowd)
    is_ignored = (taken >= 0) & ~is_evaluated[taken] if len(is_evaluated) else np.zeros(len(scores), bool)
    object_of = np.where(is_ignored, -1, taken)
    counts = scores >= score_threshold
    is_detected = np.zeros(len(is_evaluated), dtype=bool)
    is_detected[object_of[counts & (object_of >= 0)]] = True
    is_false_positive = counts & ~is_ignored & (object_of < 0)
    matches = Matches(
        object_of=object_of,
        similarity=np.where(object_of >= 0, overlaps.similarity_of(object_of), 0.0),
        is_ignored=is_ignored,
        confused_with=_match_across_labels(
            data, scores, is_false_positive, is_evaluated & ~is_detected, iou_threshold
        ),
        counts=counts,
        image=np.array([item["image_id"] for item in data.predictions]),
        is_detected=is_detected,
        is_evaluated=is_evaluated,
        object_image=np.array([item["image_id"] for item in data.truth]),
    )
    return matches, _rank(matches, overlaps, rank, is_crowd, max_detections)


def _rank(
    matches: Matches,
    overlaps: Overlaps,
    rank: NDArray[np.int64],
    is_crowd: NDArray[np.bool_],
    max_detections: int,
) -> Ranked:
    right, ignored = np.zeros(len(rank), np.uint16), np.zeros(len(rank), np.uint16)
    for bit, threshold in enumerate(AP_THRESHOLDS):
        taken = overlaps.match(threshold, ~matches.is_evaluated, is_crowd)
        has_object = taken >= 0
        right[has_object] |= np.uint16(1 << bit)
        if not matches.is_evaluated.all():
            ignored[has_object & ~matches.is_evaluated[taken]] |= np.uint16(1 << bit)
    order = np.lexsort((rank, matches.image))
    order = order[rank[order] < max_detections]
    return Ranked(order, right[order] & ~ignored[order], ignored[order])


def _match_across_labels(
    data: Dataset,
    scores: NDArray[np.float64],
    is_false_positive: NDArray[np.bool_],
    is_missed: NDArray[np.bool_],
    iou_threshold: float,
) -> NDArray[np.int64]:
    """Match false positives with missed objects of other labels, for the confusion matrix."""
    if data.iou_type == "keypoints":  # the keypoints of different labels cannot be compared
        return np.full(len(scores), -1)
    wrong = _by_image(data.predictions, is_false_positive)
    for places in wrong.values():
        places.sort(key=lambda place: -scores[place])
    none = np.zeros(len(is_missed), dtype=bool)
    overlaps = find_overlaps(data, wrong, _by_image(data.truth, is_missed), iou_threshold)
    return overlaps.match(iou_threshold, none, none)


def _by_pair(items: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], list[int]]:
    """The indices of annotations by image and category."""
    places = defaultdict(list)
    for place, item in enumerate(items):
        places[item["image_id"], item["category_id"]].append(place)
    return places


def _by_image(items: Sequence[Mapping[str, Any]], is_wanted: NDArray[np.bool_]) -> dict[int, list[int]]:
    places = defaultdict(list)
    for place in np.flatnonzero(is_wanted).tolist():
        places[items[place]["image_id"]].append(place)
    return places
