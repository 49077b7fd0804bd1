"""Ranks frames by their number of mistakes, and draws matches, missed objects and false positives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any, NamedTuple

import numpy as np

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.comparison.task_comparison import TaskComparison
from prefect_cvat.evaluation.inputs.coco_conversion import Comparison
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.matching.matches import Matches
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import Frame, Quality
from prefect_cvat.media.task_frames import read_task_frames
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.plan import Plan
from prefect_cvat.rendering.frame_svg import (
    MAX_SHAPES,
    AnnotatedFrame,
    render_frame,
    shrink_image,
)
from prefect_cvat.rendering.review_page.content import KINDS

__all__ = [
    "OUTCOMES",
    "DrawnFrame",
    "FrameOutcomes",
    "ShapeOutcome",
    "address_of_frame",
    "fetch_worst_frames",
    "most_different_frames",
    "outcomes_on",
    "plan_of_frames",
    "rank_worst_frames",
]

OUTCOMES = {name: KINDS[name].color for name in ("truth", "found", "missed", "false alarm", "wrong label")}
"""The outcomes of shapes, and the colors in which they are drawn."""

_NOUNS = frozenset({"false alarm", "wrong label"})

_DRAWN: tuple[IouType, ...] = ("bbox", "keypoints")
"""Every compared shape is in one of these; shapes with masks are also compared by boxes."""


class ShapeOutcome(NamedTuple):
    """The outcome of a shape.

    Attributes:
        outcome: One of `OUTCOMES`.
        label: The name of its label.
        shape: The shape as the server's JSON object.
        true_label: The label of the object, if the outcome is `wrong label`.
    """

    outcome: str
    label: str
    shape: Mapping[str, Any]
    true_label: str = ""

    @property
    def caption(self) -> str:
        """What is written beside the shape."""
        match self.outcome:
            case "truth":
                return ""
            case "found":
                return self.label
            case "wrong label":
                return f"{self.label}, is {self.true_label}"
            case _:
                return f"{self.outcome}: {self.label}"


@dataclass(slots=True)
class FrameOutcomes:
    """The outcomes of the shapes on a frame.

    Attributes:
        frame: The frame's number.
        shapes: The outcomes of up to `MAX_SHAPES` shapes of each kind.
        counts: The number of shapes by outcome.
    """

    frame: int
    shapes: list[ShapeOutcome] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def mistakes(self) -> int:
        """The number of missed objects and wrong predictions."""
        return self.counts["missed"] + self.counts["false alarm"] + self.counts["wrong label"]

    def summary(self) -> dict[str, str]:
        """The number of shapes of each outcome in words. A matched object counts once."""
        return {
            outcome: pluralize(count, outcome) if outcome in _NOUNS else f"{count} {outcome}"
            for outcome in OUTCOMES
            if (count := self.counts[outcome]) and outcome != "truth"
        }

    def add(self, shape: ShapeOutcome) -> None:
        """Count a shape, and keep it if no more than `MAX_SHAPES` have this outcome."""
        self.counts[shape.outcome] += 1
        if self.counts[shape.outcome] <= MAX_SHAPES:
            self.shapes.append(shape)


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """A frame, its image, and the outcomes of its shapes.

    Attributes:
        frame: The frame.
        jpeg: Its image, made small by `shrink_image`.
        outcomes: The outcomes of its shapes.
    """

    frame: Frame
    jpeg: bytes
    outcomes: FrameOutcomes

    @property
    def description(self) -> str:
        """The frame and the numbers of its mistakes."""
        return f"{self.frame}: {', '.join(self.outcomes.summary().values())}"

    def svg(self, width: int) -> str:
        """The frame as an SVG whose longer side has `width` pixels."""
        annotated, labels, colors = self._labeled()
        return render_frame(annotated, labels, width=width, colors=colors)

    def _labeled(self) -> tuple[AnnotatedFrame, dict[int, str], dict[str, str]]:
        """The frame with each caption as a label of its own, in the color of its outcome."""
        numbers: dict[tuple[str, str], int] = {}
        found = self.outcomes.shapes
        if len(found) > MAX_SHAPES:  # not all are drawn, but mistakes are
            found = sorted(found, key=lambda each: each.outcome in ("truth", "found"))
        shapes = [
            {**each.shape, "label_id": numbers.setdefault((each.outcome, each.caption), len(numbers))}
            for each in found
        ]
        tags = [
            {"label_id": numbers.setdefault((outcome, text), len(numbers))}
            for outcome, text in self.outcomes.summary().items()
        ]
        return (
            AnnotatedFrame(self.frame, self.jpeg, tags, shapes),
            {number: text for (_, text), number in numbers.items()},
            {text: OUTCOMES[outcome] for outcome, text in numbers},
        )


def rank_worst_frames(
    evaluation: TaskEvaluation, max_frames: int = 12, *, with_all: bool = False
) -> list[FrameOutcomes]:
    """The frames with most mistakes, most first.

    Args:
        evaluation: The evaluation.
        max_frames: Maximum number of frames.
        with_all: Whether frames without mistakes follow.
    """
    mistakes: Counter[int] = Counter()
    for iou_type in _DRAWN:
        if iou_type in evaluation.shapes:
            matches = evaluation.shapes[iou_type].matches
            is_missed = matches.is_evaluated & ~matches.is_detected
            is_false_positive = matches.counts & ~matches.is_ignored & (matches.object_of < 0)
            for frames in (matches.object_image[is_missed], matches.image[is_false_positive]):
                for frame, count in zip(*np.unique(frames, return_counts=True), strict=True):
                    mistakes[int(frame)] += int(count)
    ranked: Iterable[int] = evaluation.evaluated_frames.numbers if with_all else mistakes
    worst = nsmallest(max_frames, ranked, key=lambda frame: (-mistakes[frame], frame))
    return [outcomes_on(evaluation, frame) for frame in worst]


def most_different_frames(comparison: TaskComparison, max_frames: int = 12) -> list[FrameOutcomes]:
    """The frames on which two evaluations differ most, with the outcomes of the first one."""
    shapes = (comparison.shapes[iou_type] for iou_type in _DRAWN if iou_type in comparison.shapes)
    sizes: Counter[int] = Counter()
    for each in shapes:
        sizes.update({int(frame.frame): frame.size for frame in each.frames})
    most = nsmallest(max_frames, sizes, key=lambda frame: (-sizes[frame], frame))
    return [outcomes_on(comparison.first, frame) for frame in most]


def fetch_worst_frames(
    client: Client, evaluation: TaskEvaluation, worst: Sequence[FrameOutcomes], quality: Quality = "original"
) -> list[DrawnFrame]:
    """Download the images of frames, to draw them with the outcomes of their shapes.

    Raises:
        MediaError: An image cannot be decoded.
        PrefectCvatError: A request to the server failed.
    """
    by_number = {item.frame: item for item in worst}
    plan = plan_of_frames(evaluation, by_number)
    drawn = {}
    with spool_folder() as folder:
        for frame, image in read_task_frames(client, plan, folder, quality=quality):
            jpeg = shrink_image(image, frame)
            del image  # so that only one image is in memory
            drawn[frame.number] = DrawnFrame(frame, jpeg, by_number[frame.number])
    return [drawn[item.frame] for item in worst]


def plan_of_frames(evaluation: TaskEvaluation, numbers: Collection[int]) -> Plan:
    """A plan to read the images of some of the evaluated frames."""
    frames = evaluation.evaluated_frames.where(frozenset(numbers).__contains__)
    return Plan(info=evaluation.info, frames=frames, jobs=(), excluded={})


def address_of_frame(client: Client, evaluation: TaskEvaluation, frame: int) -> str:
    """The address of a frame in CVAT."""
    jobs = (job for job in evaluation.info.jobs if job.start_frame <= frame <= job.stop_frame)
    job = next(jobs, None)
    path = "" if job is None else f"/jobs/{job.id}?frame={frame}"
    return f"{client.url}/tasks/{evaluation.task_id}{path}"


def outcomes_on(evaluation: TaskEvaluation, frame: int) -> FrameOutcomes:
    """The outcomes of the shapes on a frame."""
    outcomes = FrameOutcomes(frame)
    compared = evaluation.compared.on(frame)
    for iou_type in _DRAWN:
        if iou_type in compared:
            _add_outcomes(evaluation, evaluation.shapes[iou_type].matches, compared[iou_type], outcomes)
    return outcomes


def _add_outcomes(
    evaluation: TaskEvaluation, matches: Matches, compared: Comparison, outcomes: FrameOutcomes
) -> None:
    names = {label.id: label.name for label in evaluation.info.labels}
    places = np.flatnonzero(matches.object_image == outcomes.frame).tolist()
    truth_labels = {}
    for place, shape in zip(places, compared.truth_shapes, strict=True):
        truth_labels[place] = names[shape["label_id"]]
        if matches.is_evaluated[place]:
            is_detected = matches.is_detected[place]
            outcome = "truth" if is_detected else "missed"
            without_score = {key: value for key, value in shape.items() if key != "score"}
            outcomes.add(ShapeOutcome(outcome, truth_labels[place], without_score))
    places = np.flatnonzero(matches.image == outcomes.frame).tolist()
    for place, shape in zip(places, compared.predicted_shapes, strict=True):
        if not matches.counts[place] or matches.is_ignored[place]:
            continue
        name = names[shape["label_id"]]
        other = int(matches.confused_with[place])
        if matches.object_of[place] >= 0:
            outcomes.add(ShapeOutcome("found", name, shape))
        elif other >= 0:
            outcomes.add(ShapeOutcome("wrong label", name, shape, truth_labels[other]))
        else:
            outcomes.add(ShapeOutcome("false alarm", name, shape))
