"""Tags held against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict

from prefect_cvat.evaluation.curves import Counts

__all__ = ["TagEvaluation", "evaluate_tags"]


class TagEvaluation(BaseModel):
    """How good predicted tags are.

    Attributes:
        frames: How many frames were looked at.
        accuracy: On what part of them the tags are exactly those of the truth.
        by_label: By label, of those that occur: on how many frames it is, and was found.
    """

    model_config = ConfigDict(frozen=True)

    frames: int
    accuracy: float
    by_label: dict[str, Counts]


def evaluate_tags(
    truth: Mapping[int, Collection[str]], predicted: Mapping[int, Collection[str]], frames: Collection[int]
) -> TagEvaluation:
    """Hold predicted tags against the truth.

    Args:
        truth: The names of the labels that humans put on frames, by frame; none where a frame is missing.
        predicted: Those that were found.
        frames: The frames to look at, at least one.
    """
    pairs = Counter(
        (frozenset(truth.get(frame, ())), frozenset(predicted.get(frame, ()))) for frame in frames
    )
    names = sorted({name for pair in pairs for tags in pair for name in tags})
    return TagEvaluation(
        frames=pairs.total(),
        accuracy=sum(count for (drawn, found), count in pairs.items() if drawn == found) / pairs.total(),
        by_label={
            name: Counts(
                truth=sum(count for (drawn, _), count in pairs.items() if name in drawn),
                true_positives=sum(
                    count for (drawn, found), count in pairs.items() if name in drawn and name in found
                ),
                false_positives=sum(
                    count for (drawn, found), count in pairs.items() if name not in drawn and name in found
                ),
            )
            for name in names
        },
    )
