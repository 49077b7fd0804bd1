"""Which prediction is of which object: greedily, the highest score first, as COCO does it."""

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
    """Which prediction is of which object.

    Attributes:
        object_of: For each prediction the place of its object in the truth, or -1.
        similarity: For each prediction its IoU (or OKS) with that object, or 0.
        is_ignored: For each prediction whether it counts neither as right nor as wrong.
        confused_with: For each prediction the place of an object of another label that it lies on; -1 for
            none, and for predictions that have an object of their own or do not count.
        counts: For each prediction whether its score is not below the threshold.
        image: For each prediction the id of its image.
        is_detected: For each object of the truth whether a prediction that counts has it.
        is_evaluated: For each object of the truth whether it counts.
        object_image: For each object of the truth the id of its image.
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
        """The matches of several parts of a data set; the places are those in all of it."""
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
    """What average precision is made of: predictions in the order of their images, then of their scores.

    Attributes:
        place: The place of each.
        is_correct: For each a bit for each of `AP_THRESHOLDS`: whether it has an object.
        is_ignored: For each a bit for each of these: whether it does not count, because its object does not.
    """

    place: NDArray[np.int64]
    is_correct: NDArray[np.uint16]
    is_ignored: NDArray[np.uint16]


def match_all(
    data: Dataset, iou_threshold: float, score_threshold: float, max_detections: int
) -> tuple[Matches, Ranked]:
    """Match all predictions: with objects of their label first, what is left then across labels.

    Args:
        data: Truth and predictions.
        iou_threshold: The least similarity.
        score_threshold: The least score that counts for `confused_with`, `counts` and `is_detected`.
        max_detections: How many predictions of a label on an image average precision looks at.

    Raises:
        ResponseTooLargeError: More of them overlap than are compared.
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
    """Put what was predicted wrongly together with what was missed, for the confusion matrix."""
    if data.iou_type == "keypoints":  # the keypoints of different labels cannot be compared
        return np.full(len(scores), -1)
    wrong = _by_image(data.predictions, is_false_positive)
    for places in wrong.values():
        places.sort(key=lambda place: -scores[place])
    none = np.zeros(len(is_missed), dtype=bool)
    overlaps = find_overlaps(data, wrong, _by_image(data.truth, is_missed), iou_threshold)
    return overlaps.match(iou_threshold, none, none)


def _by_pair(items: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], list[int]]:
    """The places of annotations by image and category."""
    places = defaultdict(list)
    for place, item in enumerate(items):
        places[item["image_id"], item["category_id"]].append(place)
    return places


def _by_image(items: Sequence[Mapping[str, Any]], is_wanted: NDArray[np.bool_]) -> dict[int, list[int]]:
    places = defaultdict(list)
    for place in np.flatnonzero(is_wanted).tolist():
        places[items[place]["image_id"]].append(place)
    return places
