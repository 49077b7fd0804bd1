"""What is kept of a frame for the ranking, until all frames are known: a few numbers, no shapes."""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_cvat.exceptions import StorageError
from prefect_cvat.geometry.bounding_box import BoundingBox
from prefect_cvat.review.uncertainty import ShapeJudge, Uncertainty, measure_uncertainty

__all__ = ["LOW_SCORE", "FrameSummaries", "FrameSummary", "summarize_shapes"]

LOW_SCORE = 0.5
"""Shapes with a score below this are counted in the reasons."""

MAX_BYTES_IN_MEMORY = 1 << 17
"""Maximum bytes of summaries in memory, those of about 300 frames. More are kept on disk."""


@dataclass(slots=True)
class FrameSummary:
    """What is kept of a frame until all frames are known: a few numbers, no shapes.

    Attributes:
        frame: Its number.
        noun: What is counted: `shape`, or `track` for the tracks that are judged by this frame.
        tags: The number of its tags.
        has_failed: Whether the function failed on it.
        expected_corrections: The expected corrections of what is written, as far as this frame alone tells.
        unwritten: The number of detections below the confidence threshold, each of which may be an object
            that is missed.
        expected_missed: How many of them are expected to be objects.
        best_unwritten: The highest of their scores.
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
    unwritten: int = 0
    expected_missed: float = 0.0
    best_unwritten: float = 0.0
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
        counts = Counter([each.label_id for each in uncertainties])
        counts.update(dict(self.labels))
        self.labels = tuple(sorted(counts.items()))
        for each in uncertainties:
            if each.score < LOW_SCORE:
                self.low_scores += 1
            if each.score < self.min_score:
                self.min_score = each.score
            if each.iou:
                self.overlaps += 1
                if self.closest is None or each.iou > self.closest.iou:
                    self.closest = each
            value = each.value
            self.expected_corrections += value
            if value > self._box_corrections:
                self._mark(value, each.box)

    def add_unwritten(self, uncertainties: Sequence[Uncertainty]) -> None:
        """Add detections that are not written because of their score."""
        for each in uncertainties:
            self.unwritten += 1
            self.best_unwritten = max(self.best_unwritten, each.score)
            self.expected_missed += 1 - each.value
            self._mark(1 - each.value, each.box)

    def add_break(self, how: str, label_id: int, box: BoundingBox) -> None:
        """Add a track that begins or ends on this frame, inside the image.

        Args:
            how: `begins` or `ends`.
            label_id: The label of the track.
            box: The bounding box of its object, in pixels.
        """
        self.breaks.append((how, label_id))
        self.expected_corrections += 1.0
        self._mark(1.0, box)

    def _mark(self, corrections: float, box: BoundingBox) -> None:
        if corrections > self._box_corrections:
            self.box, self._box_corrections = box, corrections


class FrameSummaries:
    """The summaries of all frames of a run, on disk if there are many: they are needed until the run ends.

    They can be iterated several times, but by one iterator at a time.

    Attributes:
        frames: The number of frames.
        failed: The number of frames on which the function failed.
        empty: The number of frames on which nothing was detected.
        expected_missed: The number of detections that are not written and expected to be objects.
        labels: The number of shapes or tracks by label id.
    """

    def __init__(self, summaries: Iterable[FrameSummary] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY)  # noqa: SIM115 (goes with this object)
        weakref.finalize(self, self._file.close)
        self.frames = self.failed = self.empty = 0
        self.expected_missed = 0.0
        self.labels: Counter[int] = Counter()
        self.extend(summaries)

    def extend(self, summaries: Iterable[FrameSummary]) -> None:
        """Add summaries.

        Raises:
            StorageError: They cannot be written to disk.
        """
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.writelines(map(self._count, summaries))
        except OSError as error:
            self.frames = 0  # the last one may be incomplete, so none is read again
            raise StorageError(
                f"the summaries of frames for the review cannot be written to disk: {error}"
            ) from error

    def _count(self, summary: FrameSummary) -> bytes:
        """Count a summary; return what is stored of it."""
        self.frames += 1
        self.failed += summary.has_failed
        self.empty += summary.is_empty
        self.expected_missed += summary.expected_missed
        for label, count in summary.labels:
            self.labels[label] += count
        return pickle.dumps(summary)

    def __iter__(self) -> Iterator[FrameSummary]:
        self._file.seek(0)
        for _ in range(self.frames):
            yield pickle.load(self._file)  # noqa: S301 (this process has written it, to a file without a name)


def summarize_shapes(
    frame: int,
    shapes: Sequence[Mapping[str, Any]],
    tags: int = 0,
    *,
    unwritten: Sequence[Mapping[str, Any]] = (),
    judge: ShapeJudge | None = None,
) -> FrameSummary:
    """Summarize a frame.

    Args:
        frame: Its number.
        shapes: All of its shapes, as the server's JSON objects.
        tags: The number of its tags.
        unwritten: Detections with a score below the confidence threshold, likewise.
        judge: The learned probability that a shape is right, if there is one.
    """
    summary = FrameSummary(frame, tags=tags)
    uncertainties = measure_uncertainty([*shapes, *unwritten], judge)
    summary.add(uncertainties[: len(shapes)])
    summary.add_unwritten(uncertainties[len(shapes) :])
    return summary
