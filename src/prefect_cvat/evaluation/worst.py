"""The frames with most mistakes, drawn: the truth, what was found, what was missed, false alarms."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.dataset import IouType
from prefect_cvat.evaluation.from_cvat import Comparison
from prefect_cvat.evaluation.matching import Matches
from prefect_cvat.evaluation.task import TaskEvaluation
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import ChunkBatch, Frame, Quality
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.plan import Plan
from prefect_cvat.reporting.frame_svg import (
    MAX_SHAPES,
    AnnotatedFrame,
    render_figure,
    render_frame,
    shrink_image,
)

__all__ = ["OUTCOMES", "DrawnFrame", "FrameOutcomes", "find_worst_frames", "open_frames_of"]

OUTCOMES = {
    "truth": "#aab4c2",
    "found": "#3ecf8e",
    "missed": "#ff5a5f",
    "false alarm": "#ffb02e",
    "wrong label": "#d08bff",
}
"""What a drawn shape is, and its color."""

_NOUNS = frozenset({"false alarm", "wrong label"})

_DRAWN: tuple[IouType, ...] = ("bbox", "keypoints")
"""Every shape that is compared is in one of these; masks are also in the first."""


@dataclass(slots=True)
class FrameOutcomes:
    """What became of the shapes on a frame.

    Attributes:
        frame: The frame's number.
        shapes: CVAT's shapes, each with its outcome and its caption; up to `MAX_SHAPES` of each outcome.
        counts: How many there are of each outcome.
    """

    frame: int
    shapes: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def mistakes(self) -> int:
        """How many objects were missed, and predictions wrong."""
        return self.counts["missed"] + self.counts["false alarm"] + self.counts["wrong label"]

    def summary(self) -> dict[str, str]:
        """How many there are of each outcome, in words; objects that were found count once."""
        return {
            outcome: pluralize(count, outcome) if outcome in _NOUNS else f"{count} {outcome}"
            for outcome in OUTCOMES
            if (count := self.counts[outcome]) and outcome != "truth"
        }

    def add(self, outcome: str, text: str, shape: Mapping[str, Any]) -> None:
        """Add a shape; of each outcome only as many are held as are drawn."""
        self.counts[outcome] += 1
        if self.counts[outcome] <= MAX_SHAPES:
            self.shapes.append((outcome, text, shape))


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """A frame, its image, and what became of the shapes on it.

    Attributes:
        frame: The frame.
        jpeg: Its image, made small by `shrink_image`.
        outcomes: What became of the shapes.
        url: Where the frame is in CVAT.
    """

    frame: Frame
    jpeg: bytes
    outcomes: FrameOutcomes
    url: str

    @property
    def description(self) -> str:
        """How many mistakes there are."""
        return f"{self.frame}: {', '.join(self.outcomes.summary().values())}"

    def figure(self) -> str:
        """The frame as an HTML figure that is a link to CVAT."""
        return f'<a href="{html.escape(self.url)}">{render_figure(*self._labeled())}</a>'

    def svg(self, width: int) -> str:
        """The frame as an SVG whose longer side has so many pixels."""
        annotated, labels, colors = self._labeled()
        return render_frame(annotated, labels, width=width, colors=colors)

    def _labeled(self) -> tuple[AnnotatedFrame, dict[int, str], dict[str, str]]:
        """The frame for who draws labels: each text is a label of its own, with the color of its outcome."""
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


def find_worst_frames(evaluation: TaskEvaluation, most: int = 12) -> list[FrameOutcomes]:
    """The frames with most mistakes, those with the most first; none without mistakes."""
    mistakes: Counter[int] = Counter()
    for way in _DRAWN:
        if way in evaluation.shapes:
            matches = evaluation.shapes[way].matches
            is_missed = matches.is_truth & ~matches.is_found
            is_wrong = matches.counts & ~matches.is_ignored & (matches.truth_of < 0)
            for frames in (matches.truth_image[is_missed], matches.image[is_wrong]):
                for frame, count in zip(*np.unique(frames, return_counts=True), strict=True):
                    mistakes[int(frame)] += int(count)
    worst = sorted(mistakes, key=lambda frame: (-mistakes[frame], frame))[:most]
    return [_outcomes(evaluation, frame) for frame in worst]


def open_frames_of(
    client: Client, evaluation: TaskEvaluation, worst: Sequence[FrameOutcomes], quality: Quality = "original"
) -> list[DrawnFrame]:
    """Fetch the images of frames, to be drawn with what became of the shapes on them.

    Raises:
        MediaError: A frame is broken.
        PrefectCvatError: The server does not give it.
    """
    info = evaluation.info
    by_number = {item.frame: item for item in worst}
    frames = info.frames_of(frame.number for frame in evaluation.counted if frame.number in by_number)
    plan = Plan(info=info, frames=frames, jobs=(), excluded={})
    drawn = {}
    with spool_folder() as folder:
        for number, of_chunk in plan.chunks():
            chunk = fetch_chunk(client, plan, number, folder, quality)
            with closing(open_frames(ChunkBatch([chunk]), of_chunk)) as opened:
                for frame, image in opened:
                    jpeg = shrink_image(image, frame)
                    del image  # else it would be held while the next one is opened
                    job = next(
                        (job for job in info.jobs if job.start_frame <= frame.number <= job.stop_frame), None
                    )
                    place = "" if job is None else f"/jobs/{job.id}?frame={frame.number}"
                    url = f"{client.url}/tasks/{evaluation.task_id}{place}"
                    drawn[frame.number] = DrawnFrame(frame, jpeg, by_number[frame.number], url)
            chunk.path.unlink()
    return [drawn[item.frame] for item in worst]


def _outcomes(evaluation: TaskEvaluation, frame: int) -> FrameOutcomes:
    outcomes = FrameOutcomes(frame)
    compared = evaluation.compared.on(frame)
    for way in _DRAWN:
        if way in compared:
            _add_outcomes(evaluation, evaluation.shapes[way].matches, compared[way], outcomes)
    return outcomes


def _add_outcomes(
    evaluation: TaskEvaluation, matches: Matches, compared: Comparison, outcomes: FrameOutcomes
) -> None:
    names = {label.id: label.name for label in evaluation.info.labels}
    places = np.flatnonzero(matches.truth_image == outcomes.frame).tolist()
    truth_labels = {}
    for place, shape in zip(places, compared.truth_shapes, strict=True):
        truth_labels[place] = names[shape["label_id"]]
        if matches.is_truth[place]:
            is_found = matches.is_found[place]
            text = "" if is_found else f"missed: {truth_labels[place]}"
            without_score = {key: value for key, value in shape.items() if key != "score"}
            outcomes.add("truth" if is_found else "missed", text, without_score)
    places = np.flatnonzero(matches.image == outcomes.frame).tolist()
    for place, shape in zip(places, compared.predicted_shapes, strict=True):
        if not matches.counts[place] or matches.is_ignored[place]:
            continue
        name = names[shape["label_id"]]
        other = int(matches.mistaken_for[place])
        if matches.truth_of[place] >= 0:
            outcome, text = "found", name
        elif other >= 0:
            outcome, text = "wrong label", f"{name}, is {truth_labels[other]}"
        else:
            outcome, text = "false alarm", f"false alarm: {name}"
        outcomes.add(outcome, text, shape)
