"""Ranks frames by their number of mistakes, and draws matches, missed objects and false positives."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    render_figure,
    render_frame,
    shrink_image,
)

__all__ = [
    "OUTCOMES",
    "DrawnFrame",
    "FrameOutcomes",
    "address_of_frame",
    "fetch_worst_frames",
    "most_different_frames",
    "outcomes_on",
    "rank_worst_frames",
]

OUTCOMES = {
    "truth": "#aab4c2",
    "found": "#3ecf8e",
    "missed": "#ff5a5f",
    "false alarm": "#ffb02e",
    "wrong label": "#d08bff",
}
"""The outcomes of shapes, and the colors in which they are drawn."""

_NOUNS = frozenset({"false alarm", "wrong label"})

_DRAWN: tuple[IouType, ...] = ("bbox", "keypoints")
"""Every compared shape is in one of these; shapes with masks are also compared by boxes."""


@dataclass(slots=True)
class FrameOutcomes:
    """The outcomes of the shapes on a frame.

    Attributes:
        frame: The frame's number.
        shapes: One of `OUTCOMES`, the caption, and the shape as the server's JSON object, for up to
            `MAX_SHAPES` shapes of each outcome.
        counts: The number of shapes by outcome.
    """

    frame: int
    shapes: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
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

    def add(self, outcome: str, text: str, shape: Mapping[str, Any]) -> None:
        """Count a shape, and keep it if no more than `MAX_SHAPES` have this outcome."""
        self.counts[outcome] += 1
        if self.counts[outcome] <= MAX_SHAPES:
            self.shapes.append((outcome, text, shape))


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """A frame, its image, and the outcomes of its shapes.

    Attributes:
        frame: The frame.
        jpeg: Its image, made small by `shrink_image`.
        outcomes: The outcomes of its shapes.
        url: The address of the frame in CVAT.
    """

    frame: Frame
    jpeg: bytes
    outcomes: FrameOutcomes
    url: str

    @property
    def description(self) -> str:
        """The frame and the numbers of its mistakes."""
        return f"{self.frame}: {', '.join(self.outcomes.summary().values())}"

    def figure(self) -> str:
        """The frame as an HTML figure that links to CVAT."""
        return f'<a href="{html.escape(self.url)}">{render_figure(*self._labeled())}</a>'

    def svg(self, width: int) -> str:
        """The frame as an SVG whose longer side has `width` pixels."""
        annotated, labels, colors = self._labeled()
        return render_frame(annotated, labels, width=width, colors=colors)

    def _labeled(self) -> tuple[AnnotatedFrame, dict[int, str], dict[str, str]]:
        """The frame with each caption as a label of its own, in the color of its outcome."""
        numbers: dict[tuple[str, str], int] = {}
        found = self.outcomes.shapes
        if len(found) > MAX_SHAPES:  # not all are drawn, but mistakes are
            found = sorted(found, key=lambda each: each[0] in ("truth", "found"))
        shapes = [
            {**shape, "label_id": numbers.setdefault((outcome, text), len(numbers))}
            for outcome, text, shape in found
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


def rank_worst_frames(evaluation: TaskEvaluation, max_frames: int = 12) -> list[FrameOutcomes]:
    """The frames with most mistakes, most first, without frames that have none."""
    mistakes: Counter[int] = Counter()
    for iou_type in _DRAWN:
        if iou_type in evaluation.shapes:
            matches = evaluation.shapes[iou_type].matches
            is_missed = matches.is_evaluated & ~matches.is_detected
            is_false_positive = matches.counts & ~matches.is_ignored & (matches.object_of < 0)
            for frames in (matches.object_image[is_missed], matches.image[is_false_positive]):
                for frame, count in zip(*np.unique(frames, return_counts=True), strict=True):
                    mistakes[int(frame)] += int(count)
    worst = sorted(mistakes, key=lambda frame: (-mistakes[frame], frame))[:max_frames]
    return [outcomes_on(evaluation, frame) for frame in worst]


def most_different_frames(comparison: TaskComparison, max_frames: int = 12) -> list[FrameOutcomes]:
    """The frames on which two evaluations differ most, with the outcomes of the first one."""
    shapes = (comparison.shapes[iou_type] for iou_type in _DRAWN if iou_type in comparison.shapes)
    sizes: Counter[int] = Counter()
    for each in shapes:
        sizes.update({int(frame.frame): frame.size for frame in each.frames})
    most = sorted(sizes, key=lambda frame: (-sizes[frame], frame))[:max_frames]
    return [outcomes_on(comparison.first, frame) for frame in most]


def fetch_worst_frames(
    client: Client, evaluation: TaskEvaluation, worst: Sequence[FrameOutcomes], quality: Quality = "original"
) -> list[DrawnFrame]:
    """Download the images of frames, to draw them with the outcomes of their shapes.

    Raises:
        MediaError: An image cannot be decoded.
        PrefectCvatError: A request to the server failed.
    """
    info = evaluation.info
    by_number = {item.frame: item for item in worst}
    frames = info.frames_of(
        frame.number for frame in evaluation.evaluated_frames if frame.number in by_number
    )
    plan = Plan(info=info, frames=frames, jobs=(), excluded={})
    drawn = {}
    with spool_folder() as folder:
        for frame, image in read_task_frames(client, plan, folder, quality=quality):
            url = address_of_frame(client, evaluation, frame.number)
            jpeg = shrink_image(image, frame)
            del image  # so that only one image is in memory
            drawn[frame.number] = DrawnFrame(frame, jpeg, by_number[frame.number], url)
    return [drawn[item.frame] for item in worst]


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
            text = "" if is_detected else f"missed: {truth_labels[place]}"
            without_score = {key: value for key, value in shape.items() if key != "score"}
            outcomes.add("truth" if is_detected else "missed", text, without_score)
    places = np.flatnonzero(matches.image == outcomes.frame).tolist()
    for place, shape in zip(places, compared.predicted_shapes, strict=True):
        if not matches.counts[place] or matches.is_ignored[place]:
            continue
        name = names[shape["label_id"]]
        other = int(matches.confused_with[place])
        if matches.object_of[place] >= 0:
            outcome, text = "found", name
        elif other >= 0:
            outcome, text = "wrong label", f"{name}, is {truth_labels[other]}"
        else:
            outcome, text = "false alarm", f"false alarm: {name}"
        outcomes.add(outcome, text, shape)
