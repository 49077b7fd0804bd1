"""Differences of two evaluations on the same ground truth, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from prefect_cvat.evaluation.comparison.bootstrap import METRICS, Metric, ResampledMetrics, draw_weights
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.matching.matches import Matches
from prefect_cvat.evaluation.metrics import Evaluation, LabelEvaluation
from prefect_cvat.messages.argument_names import argument

__all__ = [
    "CONFIDENCE",
    "MAX_RESAMPLES",
    "MIN_FRAMES",
    "Difference",
    "Differences",
    "FrameDifference",
    "Metric",
    "ShapeComparison",
    "compare_evaluations",
]

CONFIDENCE = 0.95
"""The share of resamples whose difference is within the interval."""

MAX_RESAMPLES = 100_000

MAX_FRAMES = 1000
"""Maximum number of frames that a comparison lists."""

MIN_FRAMES = 6
"""Frames with objects or predictions of a label that an interval needs. Of two equally good evaluations, one
is better on each of five frames by chance in 6 % of the cases, and on each of six in 3 %."""


class Difference(BaseModel):
    """One metric of both evaluations.

    Attributes:
        first: The metric of the first evaluation; None if it is undefined.
        second: That of the second one.
        difference: `first - second`; None if one of them is undefined.
        low: Lower end of the 95 % interval of the difference; None with fewer than `MIN_FRAMES` frames with
            objects or predictions of the label, or if the difference is undefined in most resamples.
        high: Its upper end.
    """

    model_config = ConfigDict(frozen=True)

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not contain zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Differences(BaseModel):
    """The differences of one label, or of all labels together.

    Attributes:
        truth: Number of ground-truth objects.
        metrics: The differences by metric.
    """

    model_config = ConfigDict(frozen=True)

    truth: int
    metrics: dict[Metric, Difference]


class FrameDifference(BaseModel):
    """A frame on which the evaluations differ, at the score threshold.

    Attributes:
        frame: The frame's number, or the id of the image.
        only_first: Number of objects that only the predictions of the first evaluation match.
        only_second: Number of objects that only those of the second match.
        first_false_positives: Number of false positives of the first evaluation.
        second_false_positives: Those of the second.
    """

    model_config = ConfigDict(frozen=True)

    frame: int | str
    only_first: int
    only_second: int
    first_false_positives: int
    second_false_positives: int

    @property
    def size(self) -> int:
        """How much they differ: the objects that only one matches, and the difference of false positives."""
        false_positives = abs(self.first_false_positives - self.second_false_positives)
        return self.only_first + self.only_second + false_positives


class ShapeComparison(BaseModel):
    """Two evaluations of boxes, masks or keypoints, compared.

    Attributes:
        iou_type: What was compared: `bbox`, `segm` or `keypoints`.
        overall: The differences of all labels together.
        by_label: The differences of each label with objects or predictions.
        frames: The frames on which they differ, most first, at most `MAX_FRAMES`.
        resamples: Number of resamples of the frames.
        seed: The seed of the resamples.
    """

    model_config = ConfigDict(frozen=True)

    iou_type: IouType
    overall: Differences
    by_label: dict[str, Differences]
    frames: tuple[FrameDifference, ...]
    resamples: int
    seed: int


def compare_evaluations(
    first: Evaluation,
    second: Evaluation,
    images: Iterable[int | str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> ShapeComparison:
    """Compare two evaluations on the same ground truth.

    Frames are drawn with replacement, as many as there are; both evaluations are measured on the same draw
    (a paired bootstrap). The interval is between the percentiles of the differences.

    Example:
        ```python
        import json
        from prefect_cvat.evaluation import compare_evaluations, evaluate

        truth = json.loads(open("instances.json").read())
        ours, theirs = (json.loads(open(name).read()) for name in ("ours.json", "theirs.json"))
        images = [image["id"] for image in truth["images"]]
        done = compare_evaluations(evaluate(truth, ours), evaluate(truth, theirs), images)
        print(done.overall.metrics["ap"])
        ```

    Args:
        first: The one evaluation.
        second: The other one.
        images: The ids of all evaluated images, also of those without objects and predictions.
        resamples: Number of resamples, 1 to `MAX_RESAMPLES`.
        seed: The seed of the resamples; the same seed gives the same intervals.

    Raises:
        ValueError: The ground truth differs, an image is missing, or `resamples` is out of range.
    """
    if not 1 <= resamples <= MAX_RESAMPLES:
        raise ValueError(f"{argument('resamples')} must be 1 to {MAX_RESAMPLES}, not {resamples}")
    _check_same_truth(first, second)
    ids = np.unique(list(images))
    for matches in (first.matches, second.matches):
        if not np.isin(matches.image, ids).all() or not np.isin(matches.object_image, ids).all():
            raise ValueError("an image of the evaluations is not among the given images")
    intervals = _intervals(first, second, ids, resamples, seed)
    names = [name for name in first.columns.names if name in first.by_label or name in second.by_label]
    return ShapeComparison(
        iou_type=first.iou_type,
        overall=_differences(first, second, intervals.get(None)),
        by_label={
            name: _differences(first.by_label.get(name), second.by_label.get(name), intervals.get(name))
            for name in names
        },
        frames=_frames(first.matches, second.matches, ids),
        resamples=resamples,
        seed=seed,
    )


def _check_same_truth(first: Evaluation, second: Evaluation) -> None:
    pairs = [
        (first.columns.object_label, second.columns.object_label),
        (first.matches.object_image, second.matches.object_image),
        (first.matches.is_evaluated, second.matches.is_evaluated),
    ]
    settings = [
        (each.iou_type, each.iou_threshold, each.score_threshold, each.columns.names)
        for each in (first, second)
    ]
    if settings[0] != settings[1]:
        raise ValueError("the two evaluations have different thresholds, labels or IoU types")
    if not all(np.array_equal(one, other) for one, other in pairs):
        raise ValueError(
            f"the two evaluations have different ground truth: {len(pairs[0][0])} and {len(pairs[0][1])}"
            " objects; evaluate both on the same"
        )


def _intervals(
    first: Evaluation, second: Evaluation, images: NDArray[np.int64], resamples: int, seed: int
) -> dict[str | None, NDArray[np.float64]]:
    """`[2, 5]` for each label, and for None of all labels together: the ends of the intervals."""
    measured = [ResampledMetrics(each, images) for each in (first, second)]
    frames = {
        name: np.union1d(*(each.frames_of(name) for each in measured))
        for name in (None, *measured[0].labels.keys() | measured[1].labels.keys())
    }
    if len(frames[None]) < MIN_FRAMES:
        return {}
    drawn: dict[str | None, list[NDArray[np.float64]]] = {}
    largest = max(each.largest for each in measured)
    for weights in draw_weights(len(images), resamples, seed, largest):
        one, other = (each.measure(weights) for each in measured)
        for name in (name for name in one.keys() & other.keys() if len(frames[name]) >= MIN_FRAMES):
            drawn.setdefault(name, []).append(one[name] - other[name])
    tails = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
    found = {}
    for name, parts in drawn.items():
        differences = np.concatenate(parts)
        is_known = np.mean(~np.isnan(differences), axis=0) > 0.5
        ends = np.full((2, len(METRICS)), np.nan)
        ends[:, is_known] = np.nanpercentile(differences[:, is_known], tails, axis=0)
        found[name] = ends
    return found


def _differences(
    first: LabelEvaluation | Evaluation | None,
    second: LabelEvaluation | Evaluation | None,
    ends: NDArray[np.float64] | None,
) -> Differences:
    metrics: dict[Metric, Difference] = {}
    for place, name in enumerate(METRICS):
        one, other = (None if each is None else getattr(each, name) for each in (first, second))
        difference = None if one is None or other is None else one - other
        low, high = (np.nan, np.nan) if ends is None or difference is None else ends[:, place].tolist()
        metrics[name] = Difference(
            first=one,
            second=other,
            difference=difference,
            low=None if np.isnan(low) else low,
            high=None if np.isnan(high) else high,
        )
    truth = next(each.truth for each in (first, second) if each is not None)
    return Differences(truth=truth, metrics=metrics)


def _frames(first: Matches, second: Matches, images: NDArray[np.int64]) -> tuple[FrameDifference, ...]:
    def count(ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(np.searchsorted(images, ids), minlength=len(images))

    columns = [
        count(first.object_image[first.is_detected & ~second.is_detected]),
        count(first.object_image[second.is_detected & ~first.is_detected]),
        *(
            count(each.image[each.counts & ~each.is_ignored & (each.object_of < 0)])
            for each in (first, second)
        ),
    ]
    sizes = columns[0] + columns[1] + abs(columns[2] - columns[3])
    most = np.argsort(-sizes, kind="stable")[: min(MAX_FRAMES, np.count_nonzero(sizes))]
    return tuple(
        FrameDifference(
            frame=images[place].item(),
            only_first=int(columns[0][place]),
            only_second=int(columns[1][place]),
            first_false_positives=int(columns[2][place]),
            second_false_positives=int(columns[3][place]),
        )
        for place in most.tolist()
    )
