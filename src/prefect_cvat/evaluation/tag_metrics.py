"""Evaluates tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict

from prefect_cvat.evaluation.curves import Counts

__all__ = ["TagEvaluation", "evaluate_tags"]


class TagEvaluation(BaseModel):
    """The evaluation of predicted tags.

    Attributes:
        frames: The number of frames.
        accuracy: The fraction of frames on which the predicted tags equal the ground truth.
        by_label: The numbers of frames with a tag in ground truth and prediction, by label.
    """

    model_config = ConfigDict(frozen=True)

    frames: int
    accuracy: float
    by_label: dict[str, Counts]


def evaluate_tags(
    truth: Mapping[int, Collection[str]], predicted: Mapping[int, Collection[str]], frames: Collection[int]
) -> TagEvaluation:
    """Evaluate predicted tags.

    Args:
        truth: The label names of ground-truth tags, by frame. A frame that is missing has no tags.
        predicted: The label names of predicted tags, by frame.
        frames: The frames to evaluate, at least one.
    """
    pairs = Counter(
        (frozenset(truth.get(frame, ())), frozenset(predicted.get(frame, ()))) for frame in frames
    )
    names = sorted({name for pair in pairs for tags in pair for name in tags})
    return TagEvaluation(
        frames=pairs.total(),
        accuracy=sum(
            count for (true_tags, predicted_tags), count in pairs.items() if true_tags == predicted_tags
        )
        / pairs.total(),
        by_label={
            name: Counts(
                truth=sum(count for (true_tags, _), count in pairs.items() if name in true_tags),
                true_positives=sum(
                    count
                    for (true_tags, predicted_tags), count in pairs.items()
                    if name in true_tags and name in predicted_tags
                ),
                false_positives=sum(
                    count
                    for (true_tags, predicted_tags), count in pairs.items()
                    if name not in true_tags and name in predicted_tags
                ),
            )
            for name in names
        },
    )
