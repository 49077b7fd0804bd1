"""The report of a dry run, as lines for a terminal or as JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict

from prefect_cvat.messages.plurals import format_counts, format_duration, pluralize, quoted_list

__all__ = ["AnnotateDryRun", "DryRun", "RefineDryRun", "TrackShapesDryRun", "Trial"]

MAX_LISTED = 10
"""Maximum number of labels, and of failed frames, that are listed."""

NOTHING_UPLOADED = "nothing was uploaded"


class DryRun(BaseModel, ABC):
    """What a run would do.

    Attributes:
        task_id: The id of the task.
        task_name: The name of the task.
        url: The URL of the task.
        function: The name of the function.
        size: The number of frames of the task.
        frames: The number of frames that the run would process.
        chunks: The number of chunks with these frames.
        chunk_size: The maximum number of frames in a chunk.
        jobs: The ids of the jobs that the run would write to.
        left_out: The number of frames that would be left out, by reason.
        nothing_to_do: Why the run would do nothing; empty if it would do something.
    """

    model_config = ConfigDict(extra="forbid")

    task_id: int
    task_name: str
    url: str
    function: str
    size: int
    frames: int
    chunks: int
    chunk_size: int
    jobs: list[int]
    left_out: dict[str, int]
    nothing_to_do: str

    @abstractmethod
    def lines(self) -> list[str]:
        """The dry run as lines for a terminal."""


class Trial(BaseModel):
    """The annotations that a run would write for one chunk. Counts are numbers of annotations.

    Attributes:
        frames: The number of frames in the chunk.
        labels: Annotations that would be written, by label of the task.
        unmatched: Annotations dropped because the task lacks their label, by label of the function.
        below_threshold: Annotations with a score below the threshold.
        outside: Shapes completely outside the image.
        empty: Shapes without area, pixels or visible keypoints.
        overlapping_existing: Annotations left out because they overlap existing ones.
        frame_errors: Errors on frames that would be skipped, by frame.
        are_put_to_tracks: Whether the shapes would become tracks.
        fetch_seconds: The duration of the download of the chunk in seconds.
        detect_seconds: The duration of the detection in seconds.
    """

    model_config = ConfigDict(extra="forbid")

    frames: int
    labels: dict[str, int]
    unmatched: dict[str, int]
    below_threshold: int
    outside: int
    empty: int
    overlapping_existing: int
    frame_errors: dict[int, str]
    are_put_to_tracks: bool
    fetch_seconds: float
    detect_seconds: float

    def lines(self) -> list[str]:
        """The trial as lines for a terminal."""
        by_label = f" ({format_counts(self.labels, MAX_LISTED)})" if self.labels else ""
        in_tracks = " in tracks" * self.are_put_to_tracks
        lines = [
            f"tried on {pluralize(self.frames, 'frame')}:"
            f" {pluralize(sum(self.labels.values()), 'annotation')}"
            f" would be written{in_tracks}{by_label}, {self.fetch_seconds:.2f} s to fetch,"
            f" {self.detect_seconds:.2f} s to detect"
        ]
        if self.unmatched:
            unmatched = format_counts(self.unmatched, MAX_LISTED)
            lines.append(f"dropped, no such label in the task: {unmatched}")
        reasons = {
            "below the score threshold": self.below_threshold,
            "outside the image": self.outside,
            "empty": self.empty,
            "annotated already": self.overlapping_existing,
        }
        if left_out := {why: count for why, count in reasons.items() if count}:
            lines.append(f"left out: {format_counts(left_out)}")
        failed = list(self.frame_errors.items())
        lines += [f"frame {frame} failed: {why}" for frame, why in failed[:MAX_LISTED]]
        if len(failed) > MAX_LISTED:
            lines.append(f"{len(failed) - MAX_LISTED} more frames failed")
        return lines


class AnnotateDryRun(DryRun):
    """What a run of a detection function would do.

    Attributes:
        labels: The label of the task for each label of the function; None if it is dropped.
        skip_existing_iou: The minimum IoU with existing annotations at which annotations are left out.
        skip_existing_source: The existing annotations to compare with: `manual`, `auto` or `all`.
        left_out_ranges: The frames that are left out, by reason, as text.
        learned: What was learned from corrections and is used, or why nothing is; else empty.
        trial: What the run would write for the first chunk; None if there is nothing to do.
        seconds: The estimated duration of the run in seconds.
        batches: The estimated number of batches.
    """

    labels: dict[str, str | None]
    skip_existing_iou: float | None
    skip_existing_source: str
    left_out_ranges: dict[str, str]
    learned: str = ""
    trial: Trial | None = None
    seconds: float = 0.0
    batches: int = 0

    def lines(self) -> list[str]:
        """The dry run as lines for a terminal."""
        jobs = ", ".join(map(str, self.jobs)) or "none"
        lines = [
            f"task {self.task_id} ({self.task_name!r}): {pluralize(self.size, 'frame')},"
            f" {self.frames} to annotate",
            f"{pluralize(self.chunks, 'chunk')} of up to {pluralize(self.chunk_size, 'frame')} to fetch",
            f"{pluralize(len(self.jobs), 'job')} to write: {jobs}",
        ]
        lines += [
            f"left out, {why}: {pluralize(count, 'frame')} ({self.left_out_ranges[why]})"
            for why, count in self.left_out.items()
        ]
        if self.learned:
            lines.append(self.learned)
        lines += self._label_lines()
        if self.skip_existing_iou is not None:
            lines.append(
                f"left out: existing tags, and shapes from IoU {self.skip_existing_iou:g} with existing ones"
                f" ({self.skip_existing_source})"
            )
        if self.trial is None:
            return [*lines, f"nothing to do: {self.nothing_to_do}; {NOTHING_UPLOADED}"]
        batches = pluralize(self.batches, "batch", "batches")
        estimate = f"estimated time: {format_duration(self.seconds)}, in about {batches}; {NOTHING_UPLOADED}"
        return [*lines, *self.trial.lines(), estimate]

    def _label_lines(self) -> list[str]:
        matched = [(own, name) for own, name in self.labels.items() if name is not None]
        dropped = [own for own, name in self.labels.items() if name is None]
        lines = [f"label {own!r} -> {name!r}" for own, name in matched[:MAX_LISTED]]
        if len(matched) > MAX_LISTED:
            lines.append(f"and {pluralize(len(matched) - MAX_LISTED, 'more label')} of the task")
        if dropped:
            are_dropped = pluralize(len(dropped), "label is dropped", "labels are dropped")
            lines.append(f"{are_dropped}: {quoted_list(dropped, MAX_LISTED)}")
        return lines


class RefineDryRun(DryRun):
    """What a run of an interaction function would do.

    Attributes:
        shapes: The number of shapes to refine, by label.
        to: The type of the refined shapes.
        keep_originals: Whether the originals stay.
    """

    shapes: dict[str, int]
    to: str
    keep_originals: bool

    def lines(self) -> list[str]:
        """The dry run as lines for a terminal."""
        if self.nothing_to_do:
            return [f"nothing to do: {self.nothing_to_do}", NOTHING_UPLOADED]
        lines = [
            f"task {self.task_id} ({self.task_name!r}): {pluralize(sum(self.shapes.values()), 'shape')}"
            f" ({format_counts(self.shapes, MAX_LISTED)}) on {pluralize(self.frames, 'frame')} to refine",
            f"each becomes a {self.to}{'; the originals stay' if self.keep_originals else ''}",
            f"{pluralize(self.chunks, 'chunk')} of up to {pluralize(self.chunk_size, 'frame')} to fetch",
            f"{pluralize(len(self.jobs), 'job')} to write: {', '.join(map(str, self.jobs))}",
        ]
        lines += [f"left out, {why}: {pluralize(count, 'frame')}" for why, count in self.left_out.items()]
        return [*lines, NOTHING_UPLOADED]


class TrackShapesDryRun(DryRun):
    """What a run of a tracking function would do.

    Attributes:
        shapes: The number of shapes to track, by label.
        shapes_left_out: The number of shapes that cannot be tracked, by reason.
        first_frame: The first frame to track on; None if there is nothing to do.
        last_frame: The last frame to track on.
    """

    shapes: dict[str, int]
    shapes_left_out: dict[str, int]
    first_frame: int | None
    last_frame: int | None

    def lines(self) -> list[str]:
        """The dry run as lines for a terminal."""
        if self.nothing_to_do:
            return [f"nothing to do: {self.nothing_to_do}", NOTHING_UPLOADED]
        shapes = pluralize(sum(self.shapes.values()), "shape")
        lines = [f"task {self.task_id} ({self.task_name!r}): {shapes} to track"]
        lines += [f"left out, {why}: {pluralize(n, 'shape')}" for why, n in self.shapes_left_out.items()]
        if self.first_frame is not None:
            lines.append(
                f"on frames {self.first_frame}-{self.last_frame} at most,"
                f" {pluralize(self.chunks, 'chunk')} to fetch"
            )
        return [*lines, NOTHING_UPLOADED]
