"""Ranks frames for review by the number of corrections that a human is expected to make.

The expected corrections of a frame are estimated without ground truth, as a sum:

- Each shape adds its uncertainty, 0 to 1 (`review/uncertainty.py`). A shape without a score adds 0.
- A shape of a rare label adds `RARE_CORRECTIONS` more. A label is rare if less than 1 % of shapes have it.
- A track adds its uncertainty once, by its mean score. If it begins or ends inside the image, and not on the
  first or last frame, its object was probably lost or confused with another one: this adds 1.
- A frame without any detection adds the fraction of frames that have detections.
- A frame on which the function failed adds the mean number of shapes per frame.

Scores of detectors are rarely calibrated, so the number is useful for ranking, not as a forecast.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from prefect_cvat.exceptions import StorageError
from prefect_cvat.geometry.bounding_box import BoundingBox
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job
from prefect_cvat.review.uncertainty import Uncertainty, measure_uncertainty

__all__ = ["FrameReview", "FrameSummaries", "FrameSummary", "rank_frames", "summarize_shapes"]

LOW_SCORE = 0.5
"""Shapes with a score below this are counted in the reasons."""

RARE_FRACTION = 0.01
"""A label is rare if fewer than this fraction of all shapes have it."""

RARE_CORRECTIONS = 0.5
"""Expected corrections of a shape because its label is rare."""

MAX_BYTES_IN_MEMORY = 1 << 17
"""Maximum bytes of summaries in memory, those of about 500 frames. More are kept on disk."""


class FrameReview(BaseModel):
    """A frame to review.

    Attributes:
        frame: Its number.
        job_id: The first job that contains it.
        url: Its address in CVAT.
        expected_corrections: The expected number of corrections.
        reasons: Why corrections are expected.
        doubts: The kinds of doubt behind the reasons: `failed`, `nothing detected`, `low score`, `overlap`,
            `rare label`, `track break`.
        box: The bounding box of the most uncertain shape: left, top, right, bottom, in pixels. None if the
            reasons concern the whole frame.
    """

    model_config = ConfigDict(extra="forbid")

    frame: int
    job_id: int
    url: str
    expected_corrections: float
    reasons: list[str]
    doubts: list[str] = Field(default_factory=list)
    box: BoundingBox | None = None


@dataclass(slots=True)
class FrameSummary:
    """What is kept of a frame until all frames are known: a few numbers, no shapes.

    Attributes:
        frame: Its number.
        noun: What is counted: `shape`, or `track` for the tracks that are judged by this frame.
        tags: The number of its tags.
        has_failed: Whether the function failed on it.
        expected_corrections: The part of the expected corrections that is known from this frame alone.
        labels: Ids of labels and how many shapes or tracks have them.
        low_scores: The number of shapes or tracks with a score below `LOW_SCORE`.
        min_score: The lowest score.
        overlaps: The number of shapes or tracks that may be the same object as another one.
        closest: The one of these with the highest IoU.
        breaks: `begins` or `ends` and the label id, for each track that begins or ends inside the image.
        box: The bounding box of the most uncertain shape or track, in pixels.
    """

    frame: int
    noun: str = "shape"
    tags: int = 0
    has_failed: bool = False
    expected_corrections: float = 0.0
    labels: tuple[tuple[int, int], ...] = ()
    low_scores: int = 0
    min_score: float = 1.0
    overlaps: int = 0
    closest: Uncertainty | None = None
    breaks: list[tuple[str, int]] = field(default_factory=list)
    box: BoundingBox | None = None
    _box_corrections: float = 0.0

    @property
    def count(self) -> int:
        """The number of its shapes or tracks."""
        return sum(count for _, count in self.labels)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was detected on it."""
        return not (self.labels or self.tags or self.breaks or self.has_failed)

    def add(self, uncertainties: Sequence[Uncertainty]) -> None:
        """Add shapes or tracks."""
        counts = Counter(dict(self.labels)) + Counter(each.label_id for each in uncertainties)
        self.labels = tuple(sorted(counts.items()))
        for each in uncertainties:
            self.low_scores += each.score < LOW_SCORE
            self.min_score = min(self.min_score, each.score)
            if each.iou:
                self.overlaps += 1
                if self.closest is None or each.iou > self.closest.iou:
                    self.closest = each
            self._add_corrections(each.value, each.box)

    def add_break(self, how: str, label_id: int, box: BoundingBox) -> None:
        """Add a track that begins or ends on this frame, inside the image.

        Args:
            how: `begins` or `ends`.
            label_id: The label of the track.
            box: The bounding box of its object, in pixels.
        """
        self.breaks.append((how, label_id))
        self._add_corrections(1.0, box)

    def _add_corrections(self, corrections: float, box: BoundingBox) -> None:
        self.expected_corrections += corrections
        if corrections > self._box_corrections:
            self.box, self._box_corrections = box, corrections


class FrameSummaries:
    """The summaries of all frames of a run, on disk if there are many: they are needed until the run ends.

    They can be iterated several times, but by one iterator at a time.
    """

    def __init__(self, summaries: Iterable[FrameSummary] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY)  # noqa: SIM115 (goes with this object)
        weakref.finalize(self, self._file.close)
        self.extend(summaries)

    def extend(self, summaries: Iterable[FrameSummary]) -> None:
        """Add summaries.

        Raises:
            StorageError: They cannot be written to disk.
        """
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.writelines(_SUMMARY.dump_json(summary) + b"\n" for summary in summaries)
        except OSError as error:
            raise StorageError(
                f"the summaries of frames for the review cannot be written to disk: {error}"
            ) from error

    def __iter__(self) -> Iterator[FrameSummary]:
        self._file.seek(0)
        return map(_SUMMARY.validate_json, self._file)


_SUMMARY: TypeAdapter[FrameSummary] = TypeAdapter(FrameSummary)


def summarize_shapes(frame: int, shapes: Sequence[Mapping[str, Any]], tags: int = 0) -> FrameSummary:
    """Summarize a frame.

    Args:
        frame: Its number.
        shapes: All of its shapes, as the server's JSON objects.
        tags: The number of its tags.
    """
    summary = FrameSummary(frame, tags=tags)
    summary.add(measure_uncertainty(shapes))
    return summary


def rank_frames(
    summaries: FrameSummaries | Sequence[FrameSummary],
    *,
    labels: Mapping[int, str],
    jobs: Sequence[Job],
    url: str,
    max_frames: int,
) -> list[FrameReview]:
    """Rank frames by expected corrections, most first; frames with equally many in ascending order.

    Args:
        summaries: The summaries of all frames of a run.
        labels: The names of the task's labels, by id.
        jobs: The jobs that the run wrote to.
        url: The task's address in CVAT.
        max_frames: The maximum number of frames. Frames without expected corrections are left out.
    """
    run = _Run(summaries, labels)
    first = nsmallest(
        max_frames,
        (
            (-run.expected_corrections(summary), summary.frame, index, summary)
            for index, summary in enumerate(summaries)
        ),
    )
    reviews = []
    for negative_corrections, frame, _, summary in first:
        if not negative_corrections:
            break
        job_id = next(job.id for job in jobs if job.start_frame <= frame <= job.stop_frame)
        reviews.append(
            FrameReview(
                frame=frame,
                job_id=job_id,
                # CVAT's job page takes the frame's number in the task, not in the job
                url=f"{url}/jobs/{job_id}?frame={frame}",
                expected_corrections=-negative_corrections,
                reasons=run.reasons(summary),
                doubts=run.doubts(summary),
                box=None if summary.box is None else _rounded(summary.box),
            )
        )
    return reviews


class _Run:
    """What is known from all frames together: which labels are rare, the mean number of shapes per frame."""

    def __init__(self, summaries: Iterable[FrameSummary], names: Mapping[int, str]) -> None:
        self._names = names
        self._frames = self._empty = done = 0
        counts: Counter[int] = Counter()
        for summary in summaries:
            counts.update(dict(summary.labels))
            self._frames += 1
            self._empty += summary.is_empty
            done += not summary.has_failed
        self._rare = {label for label, count in counts.items() if count < RARE_FRACTION * counts.total()}
        self._nonempty_fraction = 1 - self._empty / done if done else 0.0
        self._mean_count = counts.total() / done if done else 0.0

    def expected_corrections(self, summary: FrameSummary) -> float:
        """The expected corrections, rounded as they are shown, so that equal numbers are ordered by frame."""
        rare_shapes = sum(count for label, count in summary.labels if label in self._rare)
        corrections = summary.expected_corrections + RARE_CORRECTIONS * rare_shapes
        if summary.has_failed:
            corrections += max(1.0, self._mean_count)
        elif summary.is_empty:
            corrections += self._nonempty_fraction
        return round(corrections, 2)

    def reasons(self, summary: FrameSummary) -> list[str]:
        """Why corrections are expected."""
        reasons = []
        if summary.has_failed:
            reasons.append("not annotated: the function failed")
        elif summary.is_empty:
            reasons.append(f"nothing detected, as on {self._empty} of {pluralize(self._frames, 'frame')}")
        shapes = pluralize(summary.count, summary.noun)
        if summary.low_scores:
            reasons.append(f"{summary.low_scores} of {shapes} below {LOW_SCORE}")
        elif summary.min_score < 1:
            reasons.append(f"{shapes}, lowest score {summary.min_score:.2f}")
        if summary.closest is not None:
            pair = f"{self._name(summary.closest.label_id)}/{self._name(summary.closest.other_label_id)}"
            reasons.append(f"{summary.overlaps} overlapping: {pair} IoU {summary.closest.iou:.2f}")
        if rare := [self._name(label) for label, _ in summary.labels if label in self._rare]:
            reasons.append(f"rare label: {', '.join(rare)}")
        for how in sorted({how for how, _ in summary.breaks}):
            broken = Counter(self._name(label) for other, label in summary.breaks if other == how)
            names = ", ".join(name if n == 1 else f"{n} {name}" for name, n in sorted(broken.items()))
            reasons.append(f"track {how} here: {names}")
        return reasons

    def doubts(self, summary: FrameSummary) -> list[str]:
        """The kinds of doubt about a frame."""
        kinds = {
            "failed": summary.has_failed,
            "nothing detected": summary.is_empty,
            "low score": summary.low_scores > 0,
            "overlap": summary.closest is not None,
            "rare label": any(label in self._rare for label, _ in summary.labels),
            "track break": bool(summary.breaks),
        }
        return [kind for kind, is_present in kinds.items() if is_present]

    def _name(self, label_id: int) -> str:
        return self._names.get(label_id, f"label {label_id}")


def _rounded(box: BoundingBox) -> BoundingBox:
    left, top, right, bottom = (round(number, 2) for number in box)
    return left, top, right, bottom
