"""Which frames a human should look at first: those with the most corrections to be expected.

The expected work of a frame is a number of corrections, a sum of what a run knows without knowing the truth:

- A shape counts by how doubtful it is, from 0 to 1 (`uncertainty.py`). What has no score counts nothing.
- A shape of a rare label counts `RARE_WORK` more: fewer than one in a hundred of the shapes have that label.
- Of a track the same counts, once, by its mean score. Where one begins or ends inside the image, and not on
  the first or last frame, its object was lost or taken for another: one correction.
- A frame on which nothing was found counts as much as the share of frames on which something was.
- A frame on which the function failed counts as many corrections as a frame has shapes on average.

Scores of detectors are rarely calibrated: the number is good for an order of frames, and not as a forecast.
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

from pydantic import BaseModel, ConfigDict, TypeAdapter

from prefect_cvat.exceptions import StorageError
from prefect_cvat.geometry.iou import BoundingBox
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job
from prefect_cvat.review.uncertainty import Doubt, find_doubts

__all__ = ["FrameReview", "FrameSummaries", "FrameSummary", "rank_frames", "summarize_shapes"]

UNSURE = 0.5
"""Below this score, reasons speak of a shape as unsure."""

RARE_SHARE = 0.01
"""A label is rare that fewer than this share of all shapes have."""

RARE_WORK = 0.5
"""Corrections that are expected of a shape for its label being rare."""

IN_MEMORY = 1 << 17
"""Up to how many bytes the summaries of a run are held in memory: those of some 500 frames."""


class FrameReview(BaseModel):
    """A frame that should be looked at.

    Attributes:
        frame: Its number.
        job_id: The first job that it is in.
        url: Its address in CVAT.
        expected_work: How many corrections are expected on it.
        reasons: Why.
        box: Where the most doubtful shape is: left, top, right, bottom. None if it is about the whole frame.
    """

    model_config = ConfigDict(extra="forbid")

    frame: int
    job_id: int
    url: str
    expected_work: float
    reasons: list[str]
    box: BoundingBox | None = None


@dataclass(slots=True)
class FrameSummary:
    """What is remembered of a frame until all are known: some numbers, and no shapes.

    Attributes:
        frame: Its number.
        noun: What is counted on it: shapes, or the tracks that are first seen on it.
        tags: How many tags it has.
        has_failed: Whether the function has failed on it.
    """

    frame: int
    noun: str = "shape"
    tags: int = 0
    has_failed: bool = False
    work: float = 0.0
    labels: tuple[tuple[int, int], ...] = ()
    unsure: int = 0
    least_score: float = 1.0
    overlaps: int = 0
    closest: Doubt | None = None
    breaks: list[tuple[str, int]] = field(default_factory=list)
    box: BoundingBox | None = None
    _box_work: float = 0.0

    @property
    def count(self) -> int:
        """How many shapes, or tracks, it has."""
        return sum(count for _, count in self.labels)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found on it."""
        return not (self.labels or self.tags or self.breaks or self.has_failed)

    def add_doubts(self, doubts: Sequence[Doubt]) -> None:
        """Take in its shapes, or tracks."""
        self.labels = tuple(
            sorted((Counter(dict(self.labels)) + Counter(d.label_id for d in doubts)).items())
        )
        for doubt in doubts:
            self.work += doubt.work
            self.unsure += doubt.score < UNSURE
            self.least_score = min(self.least_score, doubt.score)
            if doubt.overlap:
                self.overlaps += 1
                if self.closest is None or doubt.overlap > self.closest.overlap:
                    self.closest = doubt
            self._point_at(doubt.box, doubt.work)

    def add_break(self, how: str, label_id: int, box: BoundingBox) -> None:
        """Take in that a track begins, or ends, where it should not."""
        self.breaks.append((how, label_id))
        self.work += 1.0
        self._point_at(box, 1.0)

    def _point_at(self, box: BoundingBox, work: float) -> None:
        if work > self._box_work:
            self.box, self._box_work = box, work


class FrameSummaries:
    """The summaries of all frames of a run: on disk if they are many, because a run keeps them to its end.

    May be gone through several times, but not by several at a time.
    """

    def __init__(self, summaries: Iterable[FrameSummary] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 (goes with this object)
        weakref.finalize(self, self._file.close)
        self.extend(summaries)

    def extend(self, summaries: Iterable[FrameSummary]) -> None:
        """Add some.

        Raises:
            StorageError: The disk does not take them.
        """
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.writelines(_SUMMARY.dump_json(summary) + b"\n" for summary in summaries)
        except OSError as error:
            raise StorageError(f"what is known of the frames cannot be kept: {error}") from error

    def __iter__(self) -> Iterator[FrameSummary]:
        self._file.seek(0)
        return map(_SUMMARY.validate_json, self._file)


_SUMMARY: TypeAdapter[FrameSummary] = TypeAdapter(FrameSummary)


def summarize_shapes(frame: int, shapes: Sequence[Mapping[str, Any]], tags: int = 0) -> FrameSummary:
    """Sum up the shapes of a frame, given as the server's JSON objects."""
    summary = FrameSummary(frame, tags=tags)
    summary.add_doubts(find_doubts(shapes))
    return summary


def rank_frames(
    summaries: FrameSummaries | Sequence[FrameSummary],
    *,
    labels: Mapping[int, str],
    jobs: Sequence[Job],
    url: str,
    most: int,
) -> list[FrameReview]:
    """The frames with the most expected work, in this order; of those with the same, the earlier first.

    Args:
        summaries: What is known of all the frames of a run.
        labels: The names of the task's labels, by id.
        jobs: The jobs that were written to.
        url: The task's address in CVAT.
        most: How many frames at the most. Those without expected work are none of them.
    """
    run = _Run(summaries, labels)
    first = nsmallest(
        most,
        ((-run.work(summary), summary.frame, index, summary) for index, summary in enumerate(summaries)),
    )
    reviews = []
    for negative_work, frame, _, summary in first:
        if not negative_work:
            break
        job_id = next(job.id for job in jobs if job.start_frame <= frame <= job.stop_frame)
        reviews.append(
            FrameReview(
                frame=frame,
                job_id=job_id,
                # the number that CVAT's job page takes is the task's own, not one that begins with the job
                url=f"{url}/jobs/{job_id}?frame={frame}",
                expected_work=-negative_work,
                reasons=run.reasons(summary),
                box=None if summary.box is None else _rounded(summary.box),
            )
        )
    return reviews


class _Run:
    """What only all frames together tell: which labels are rare, how many shapes a frame has."""

    def __init__(self, summaries: Iterable[FrameSummary], names: Mapping[int, str]) -> None:
        self._names = names
        self._frames = self._empty = done = 0
        counts: Counter[int] = Counter()
        for summary in summaries:
            counts.update(dict(summary.labels))
            self._frames += 1
            self._empty += summary.is_empty
            done += not summary.has_failed
        self._rare = {label for label, count in counts.items() if count < RARE_SHARE * counts.total()}
        self._filled_share = 1 - self._empty / done if done else 0.0
        self._mean_count = counts.total() / done if done else 0.0

    def work(self, summary: FrameSummary) -> float:
        """The expected work, as precise as it is shown, so that what looks equal is ordered by frame."""
        work = summary.work + RARE_WORK * sum(n for label, n in summary.labels if label in self._rare)
        if summary.has_failed:
            work += max(1.0, self._mean_count)
        elif summary.is_empty:
            work += self._filled_share
        return round(work, 2)

    def reasons(self, summary: FrameSummary) -> list[str]:
        """Why there is work."""
        reasons = []
        if summary.has_failed:
            reasons.append("not annotated: the function failed")
        elif summary.is_empty:
            reasons.append(f"nothing found, as on {self._empty} of {pluralize(self._frames, 'frame')}")
        shapes = pluralize(summary.count, summary.noun)
        if summary.unsure:
            reasons.append(f"{summary.unsure} of {shapes} below {UNSURE}")
        elif summary.least_score < 1:
            reasons.append(f"{shapes}, the least score {summary.least_score:.2f}")
        if summary.closest is not None:
            pair = f"{self._name(summary.closest.label_id)}/{self._name(summary.closest.other_label_id)}"
            reasons.append(f"{summary.overlaps} overlapping: {pair} IoU {summary.closest.overlap:.2f}")
        if rare := [self._name(label) for label, _ in summary.labels if label in self._rare]:
            reasons.append(f"rare label: {', '.join(rare)}")
        for how in sorted({how for how, _ in summary.breaks}):
            broken = Counter(self._name(label) for other, label in summary.breaks if other == how)
            names = ", ".join(name if n == 1 else f"{n} {name}" for name, n in sorted(broken.items()))
            reasons.append(f"track {how} here: {names}")
        return reasons

    def _name(self, label_id: int) -> str:
        return self._names.get(label_id, f"label {label_id}")


def _rounded(box: BoundingBox) -> BoundingBox:
    left, top, right, bottom = (round(number, 2) for number in box)
    return left, top, right, bottom
