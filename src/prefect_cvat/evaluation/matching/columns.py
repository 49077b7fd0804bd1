"""Scores, labels and matches of the predictions and objects of a data set, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset
from prefect_cvat.evaluation.matching.matches import SIZES, Ranked

__all__ = ["Columns"]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of N predictions and M objects.

    Attributes:
        names: The names of the labels.
        scores: `[N]`: the scores.
        label: `[N]`: indices of labels.
        object_label: `[M]`: indices of the objects' labels.
        is_of_size: `[S, M]`: for each of `SIZES`, whether the object is evaluated.
        ranked: The predictions for average precision.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    label: NDArray[np.int32]
    object_label: NDArray[np.int32]
    is_of_size: NDArray[np.bool_]
    ranked: Ranked

    @classmethod
    def of(cls, data: Dataset, ranked: Ranked) -> Columns:
        """Take the columns of a data set."""
        truth = data.truth
        return cls(
            names=data.categories,
            scores=data.predictions.scores,
            label=data.predictions.label.astype(np.int32),
            object_label=truth.label.astype(np.int32),
            is_of_size=np.stack(
                [
                    ~truth.is_ignored & (truth.area >= low) & (truth.area <= high)
                    for low, high in SIZES.values()
                ]
            ),
            ranked=ranked,
        )

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Concatenate the columns of parts of a data set; places become those in the whole data set."""
        if len(parts) == 1:
            return parts[0]
        firsts = np.cumsum([0, *(len(part.scores) for part in parts)])[:-1]
        return cls(
            names=parts[0].names,
            scores=np.concatenate([part.scores for part in parts]),
            label=np.concatenate([part.label for part in parts]),
            object_label=np.concatenate([part.object_label for part in parts]),
            is_of_size=np.concatenate([part.is_of_size for part in parts], axis=1),
            ranked=Ranked(
                np.concatenate(
                    [part.ranked.place + first for part, first in zip(parts, firsts, strict=True)]
                ),
                np.concatenate([part.ranked.is_correct for part in parts], axis=1),
                np.concatenate([part.ranked.is_ignored for part in parts], axis=1),
            ),
        )

    def ranked_by_label(self) -> list[NDArray[np.int64]]:
        """The places in `ranked` of each label's predictions, in descending order of score."""
        labels = len(self.names)
        label = self.label[self.ranked.place]
        order = np.lexsort((-self.scores[self.ranked.place], label))
        return np.split(order, np.searchsorted(label[order], np.arange(1, labels)))[:labels]
