"""Mistakes by kind, and what average precision would be without them.

The kinds and their order are those of TIDE (Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for
Identifying Object Detection Errors, ECCV 2020, https://arxiv.org/abs/2008.08115). Other than in TIDE, labels
without objects do not count in average precision, as in COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset
from prefect_cvat.evaluation.matching.matches import Matches, Ranked
from prefect_cvat.evaluation.matching.similarity import Indices, similar_pairs
from prefect_cvat.evaluation.precision import average_precision

__all__ = ["BACKGROUND_IOU", "Mistake", "MistakeColumns", "MistakeKind", "Mistakes", "find_mistakes"]

BACKGROUND_IOU = 0.1
"""TIDE's background threshold: with at most this IoU, a prediction has nothing to do with an object."""

MistakeKind = Literal["classification", "localization", "both", "duplicate", "background", "missed"]
"""The kinds of mistakes, as TIDE names them."""

KINDS: tuple[MistakeKind, ...] = get_args(MistakeKind)


class Mistake(BaseModel):
    """Mistakes of one kind.

    Attributes:
        count: Number of predictions; of objects for `missed` and for false negatives.
        ap_gain: How much average precision would rise if they were mended (TIDE's dAP); None without objects.
    """

    model_config = ConfigDict(frozen=True)

    count: int
    ap_gain: float | None


class Mistakes(BaseModel):
    """The mistakes of predictions that reach the score threshold.

    Attributes:
        ap: Average precision of these predictions at the IoU threshold of a match; None without objects.
        kinds: The mistakes of each kind. Every false positive has one kind. An object is `missed` if no
            prediction matches it, and none with a wrong label or place would match it once mended.
        false_positives: All false positives. They would be mended by ranking them below all true positives.
        false_negatives: All objects without a match. They would be mended by leaving them out.
        by_label: The number of mistakes of each kind by label: that of the prediction, for `missed` that of
            the object.
    """

    model_config = ConfigDict(frozen=True)

    ap: float | None
    kinds: dict[MistakeKind, Mistake]
    false_positives: Mistake
    false_negatives: Mistake
    by_label: dict[str, dict[MistakeKind, int]]


@dataclass(frozen=True, slots=True, eq=False)
class MistakeColumns:
    """The kind of mistake of N predictions and M objects.

    Attributes:
        kind: `[N]`: index in `KINDS`; -1 for predictions that are no false positives or do not count.
        is_right: `[N]`: whether the prediction counts and is a true positive.
        mended_label: `[N]`: index of the label with which the prediction would be a true positive once it is
            mended; -1 if it would be removed.
        is_undetected: `[M]`: whether the object is evaluated and matched by no prediction that counts.
        is_missed: `[M]`: whether it also would not be matched by a mended prediction.
    """

    kind: NDArray[np.int8]
    is_right: NDArray[np.bool_]
    mended_label: NDArray[np.int32]
    is_undetected: NDArray[np.bool_]
    is_missed: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the columns of parts of a data set."""
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )

    def summarize(
        self,
        names: Sequence[str],
        scores: NDArray[np.float64],
        label: NDArray[np.int32],
        order: Indices,
        object_label: NDArray[np.int32],
        is_evaluated: NDArray[np.bool_],
    ) -> Mistakes:
        """Count the mistakes, and compute average precision without each kind.

        Args:
            names: The names of the labels.
            scores: `[N]`: scores of the predictions.
            label: `[N]`: indices of their labels.
            order: Indices of the predictions, in the order in which those of equal score are ranked.
            object_label: `[M]`: indices of the labels of objects.
            is_evaluated: `[M]`: whether the object is evaluated.
        """
        objects = np.bincount(object_label[is_evaluated], minlength=len(names))
        with_objects = np.flatnonzero(objects)
        counted = order[(self.is_right | (self.kind >= 0))[order]]
        scores, label = scores[counted], label[counted]
        kind, is_right = self.kind[counted], self.is_right[counted]
        mended_label = self.mended_label[counted]

        def mean_ap(
            kept: NDArray[np.bool_],
            right: NDArray[np.bool_],
            label: NDArray[np.int32],
            scores: NDArray[np.float64],
            objects: NDArray[np.int64],
        ) -> float:
            order = np.flatnonzero(kept)
            order = order[np.lexsort((-scores[order], label[order]))]
            ends = np.searchsorted(label[order], with_objects, "right")
            starts = np.searchsorted(label[order], with_objects, "left")
            return float(
                np.mean(
                    [
                        average_precision(right[order[start:end]], int(objects[place]))
                        for place, start, end in zip(with_objects, starts, ends, strict=True)
                    ]
                )
            )

        everything = np.ones(len(counted), dtype=bool)
        ap = mean_ap(everything, is_right, label, scores, objects) if len(with_objects) else None

        def gain(changed: float) -> float:
            return max(changed - (ap or 0.0), 0.0)  # as in TIDE: below zero is an effect of interpolation

        gains: dict[str, float] = {}
        if ap is not None:
            for index, name in enumerate(KINDS[:-1]):
                is_mended = (kind == index) & (mended_label >= 0)
                gains[name] = gain(
                    mean_ap(
                        (kind != index) | is_mended,
                        is_right | is_mended,
                        np.where(is_mended, mended_label, label),
                        scores,
                        objects,
                    )
                )
            for name, left_out in (("missed", self.is_missed), ("undetected", self.is_undetected)):
                rest = objects - np.bincount(object_label[left_out], minlength=len(names))
                gains[name] = gain(mean_ap(everything, is_right, label, scores, rest))
            gains["wrong"] = gain(mean_ap(everything, is_right, label, is_right.astype(float), objects))
        by_label = _count_by_label(names, kind, label, object_label[self.is_missed])
        return Mistakes(
            ap=ap,
            kinds={
                name: Mistake(
                    count=sum(counts.get(name, 0) for counts in by_label.values()), ap_gain=gains.get(name)
                )
                for name in KINDS
            },
            false_positives=Mistake(count=int(np.count_nonzero(kind >= 0)), ap_gain=gains.get("wrong")),
            false_negatives=Mistake(
                count=int(np.count_nonzero(self.is_undetected)), ap_gain=gains.get("undetected")
            ),
            by_label=by_label,
        )


def find_mistakes(data: Dataset, matches: Matches, ranked: Ranked, iou_threshold: float) -> MistakeColumns:
    """Find the kind of each false positive, and the objects that are missed.

    Args:
        data: Ground truth and predictions.
        matches: The matches at the IoU threshold.
        ranked: The predictions that count; those below the score threshold do not.
        iou_threshold: Minimum IoU (or OKS) of a match.
    """
    counts = np.zeros(len(data.predictions), dtype=bool)
    counts[ranked.place] = True
    counts &= matches.counts & ~matches.is_ignored
    is_right = counts & (matches.object_of >= 0)
    order = np.lexsort((-data.predictions.scores, data.predictions.image))
    false_positives = order[(counts & ~is_right)[order]]
    is_evaluated = ~data.truth.is_ignored
    is_used = np.zeros(len(data.truth), dtype=bool)
    is_used[matches.object_of[is_right]] = True
    same, other = _Best.none(len(is_right)), _Best.none(len(is_right))
    threshold = min(BACKGROUND_IOU, iou_threshold)
    objects = np.flatnonzero(is_evaluated)
    for prediction, truth, similarity in similar_pairs(
        data, false_positives, objects, threshold, across_labels=True
    ):
        is_same = data.predictions.label[prediction] == data.truth.label[truth]
        same.take(prediction[is_same], truth[is_same], similarity[is_same])
        other.take(prediction[~is_same], truth[~is_same], similarity[~is_same])
    conditions = {  # the first that applies, in TIDE's order
        "localization": (same.similarity >= threshold) & (same.similarity <= iou_threshold),
        "classification": other.similarity >= iou_threshold,
        "duplicate": same.similarity >= iou_threshold,
        "background": np.maximum(same.similarity, other.similarity) <= threshold,
        "both": np.ones(len(is_right), dtype=bool),
    }
    chosen = np.select(list(conditions.values()), [KINDS.index(name) for name in conditions])
    kind = np.full(len(is_right), -1, dtype=np.int8)
    kind[false_positives] = chosen[false_positives]
    is_misplaced = kind == KINDS.index("localization")
    wanted = np.where(is_misplaced, same.truth, other.truth)
    rivals = false_positives[(is_misplaced | (kind == KINDS.index("classification")))[false_positives]]
    rivals = rivals[~is_used[wanted[rivals]]]
    usable, first = np.unique(wanted[rivals], return_index=True)  # the first has the highest score
    mended_label = np.full(len(is_right), -1, dtype=np.int32)
    mended_label[rivals[first]] = data.truth.label[usable]
    is_usable = np.zeros(len(is_used), dtype=bool)
    is_usable[usable] = True
    is_undetected = is_evaluated & ~is_used
    return MistakeColumns(kind, is_right, mended_label, is_undetected, is_undetected & ~is_usable)


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The most similar object of each prediction, and its similarity."""

    truth: Indices
    similarity: NDArray[np.float64]

    @classmethod
    def none(cls, predictions: int) -> Self:
        return cls(np.zeros(predictions, dtype=np.int64), np.zeros(predictions))

    def take(self, prediction: Indices, truth: Indices, similarity: NDArray[np.float64]) -> None:
        """Take over the best pairs of some predictions; all pairs of a prediction come together."""
        order = np.lexsort((-similarity, prediction))
        own = prediction[order]
        best = order[np.flatnonzero(np.append(True, own[1:] != own[:-1])[: len(own)])]
        self.truth[prediction[best]] = truth[best]
        self.similarity[prediction[best]] = similarity[best]


def _count_by_label(
    names: Sequence[str], kind: NDArray[np.int8], label: NDArray[np.int32], missed: NDArray[np.int32]
) -> dict[str, dict[MistakeKind, int]]:
    columns = [np.bincount(label[kind == index], minlength=len(names)) for index in range(len(KINDS) - 1)]
    counts = np.stack([*columns, np.bincount(missed, minlength=len(names))], axis=1)
    return {
        names[place]: dict(zip(KINDS, counts[place].tolist(), strict=True))
        for place in np.flatnonzero(counts.any(axis=1)).tolist()
    }
