"""Which prediction is of which object: greedily, the highest score first, as COCO does it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.dataset import Dataset

__all__ = ["Matches", "Similarities", "match_all", "match_greedily"]

Similarities = dict[tuple[int, int], NDArray[np.float64]]
"""IoU (or OKS) of predictions with objects, by image and category."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which prediction is of which object.

    Attributes:
        truth_of: For each prediction the place of its object in the truth, or -1.
        similarity: For each prediction its IoU (or OKS) with that object, or 0.
        is_ignored: For each prediction whether it counts neither as right nor as wrong.
        mistaken_for: For each prediction the place of an object of another label that it lies on; -1 for
            none, and for predictions that have an object of their own or do not count.
        counts: For each prediction whether its score is not below the threshold.
        is_found: For each object of the truth whether a prediction that counts has it.
        is_truth: For each object of the truth whether it counts.
    """

    truth_of: NDArray[np.int64]
    similarity: NDArray[np.float64]
    is_ignored: NDArray[np.bool_]
    mistaken_for: NDArray[np.int64]
    counts: NDArray[np.bool_]
    is_found: NDArray[np.bool_]
    is_truth: NDArray[np.bool_]


def match_all(
    data: Dataset, similarities: Similarities, iou_threshold: float, score_threshold: float
) -> Matches:
    """Match all predictions: with objects of their label first, what is left then across labels.

    Args:
        data: Truth and predictions.
        similarities: By image and category the similarity of predictions, in descending order of score,
            with objects; pairs without either are missing.
        iou_threshold: The least similarity.
        score_threshold: The least score that counts for `mistaken_for`, `counts` and `is_found`.
    """
    scores = np.array([item["score"] for item in data.predictions], dtype=np.float64)
    truth_of = np.full(len(data.predictions), -1)
    similarity = np.zeros(len(data.predictions))
    is_ignored = np.zeros(len(data.predictions), dtype=bool)
    ignored_truth = np.array([item["ignore"] for item in data.truth], dtype=bool)
    objects, found = _by_pair(data.truth), _by_pair(data.predictions)
    for pair, values in similarities.items():
        places = sorted(found[pair], key=lambda place: -data.predictions[place]["score"])
        candidates = objects[pair]
        own = match_greedily(
            values,
            iou_threshold,
            is_ignored=[bool(data.truth[place]["ignore"]) for place in candidates],
            is_crowd=[bool(data.truth[place]["iscrowd"]) for place in candidates],
        )
        for row, column in enumerate(own):
            if column < 0:
                continue
            if data.truth[candidates[column]]["ignore"]:
                is_ignored[places[row]] = True
            else:
                truth_of[places[row]] = candidates[column]
                similarity[places[row]] = values[row, column]
    counts = scores >= score_threshold
    is_found = np.zeros(len(data.truth), dtype=bool)
    is_found[truth_of[counts & (truth_of >= 0)]] = True
    is_wrong = counts & ~is_ignored & (truth_of < 0)
    is_missed = ~ignored_truth & ~is_found
    return Matches(
        truth_of=truth_of,
        similarity=similarity,
        is_ignored=is_ignored,
        mistaken_for=_match_across_labels(data, scores, is_wrong, is_missed, iou_threshold),
        counts=counts,
        is_found=is_found,
        is_truth=~ignored_truth,
    )


def _match_across_labels(
    data: Dataset,
    scores: NDArray[np.float64],
    is_wrong: NDArray[np.bool_],
    is_missed: NDArray[np.bool_],
    iou_threshold: float,
) -> NDArray[np.int64]:
    """Put what was predicted wrongly together with what was missed, for the confusion matrix."""
    from faster_coco_eval import mask

    mistaken_for = np.full(len(data.predictions), -1)
    if data.iou_type == "keypoints":  # the keypoints of different labels cannot be compared
        return mistaken_for
    shape = "bbox" if data.iou_type == "bbox" else "rle"  # which COCOeval has left in them
    wrong = _by_image(data.predictions, is_wrong)
    missed = _by_image(data.truth, is_missed)
    for image in wrong.keys() & missed.keys():
        places = sorted(wrong[image], key=lambda place: -scores[place])
        candidates = missed[image]
        similarity = mask.iou(
            [data.predictions[place][shape] for place in places],
            [data.truth[place][shape] for place in candidates],
            [0] * len(candidates),
        )
        none = [False] * len(candidates)
        own = match_greedily(np.asarray(similarity), iou_threshold, is_ignored=none, is_crowd=none)
        for place, column in zip(places, own, strict=True):
            if column >= 0:
                mistaken_for[place] = candidates[column]
    return mistaken_for


def match_greedily(
    similarity: NDArray[np.float64],
    threshold: float,
    *,
    is_ignored: Sequence[bool],
    is_crowd: Sequence[bool],
) -> list[int]:
    """Give each prediction the object that it is most similar to, of those that are left.

    The rules are those of pycocotools 2.0.11 (`COCOeval.evaluateImg`). Objects that are ignored are taken
    only where no other is similar enough; a crowd may be taken any number of times. Of objects that are
    equally similar the last one is taken.

    Args:
        similarity: `[predictions, objects]`, such as their IoU; predictions in descending order of score.
        threshold: The least similarity, 0 to 1.
        is_ignored: For each object whether it does not count.
        is_crowd: For each object whether it stands for many; these are ignored, too.

    Returns:
        For each prediction the place of its object, or -1.
    """
    least = min(threshold, 1 - 1e-10)
    is_taken = [False] * len(is_ignored)
    found: list[int] = []
    for row in similarity.tolist():  # mostly a few numbers, for which numpy would take longer
        best = best_ignored = least
        place = ignored_place = -1
        for column, value in enumerate(row):
            if is_taken[column]:
                continue
            if is_ignored[column]:
                if value >= best_ignored:
                    best_ignored, ignored_place = value, column
            elif value >= best:
                best, place = value, column
        if place < 0:
            place = ignored_place
        if place >= 0:
            is_taken[place] = not is_crowd[place]
        found.append(place)
    return found


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
