"""What a run would do: as lines for a terminal, or as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from prefect_cvat.messages.plurals import format_counts, pluralize, quoted_list

__all__ = ["AnnotateDryRun", "DryRun", "FollowDryRun", "RefineDryRun", "Trial"]

MOST_LINES = 10
"""How many labels are listed, and how many failed frames."""

NOTHING_UPLOADED = "nothing was uploaded"


class DryRun(BaseModel):
    """What a run would do.

    Attributes:
        task_id: The task.
        task_name: Its name.
        url: Its address in CVAT.
        function: The name of the function.
        size: How many frames the task has.
        frames: How many of them would be looked at.
        chunks: How many chunks these are in.
        chunk_size: How many frames a chunk has at the most.
        jobs: The numbers of the jobs that would be written to.
        left_out: How many frames would be left out, by reason.
        nothing_to_do: Why the run would do nothing; empty where it would do something.
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


class Trial(BaseModel):
    """What a run would write of one chunk.

    Attributes:
        frames: How many frames were looked at.
        labels: How many annotations of each label of the task would be written.
        unmatched: How many would be dropped because the task has no such label, by the function's label.
        below_threshold: How many have a score below their threshold.
        outside: How many have nothing inside their image.
        empty: How many have no area, no pixel or no visible keypoint.
        overlapping_existing: How many are annotated already.
        failed_frames: What went wrong on frames that would be skipped, by frame.
        are_put_to_tracks: Whether they would be written as parts of tracks.
        fetch_seconds: How long the chunk took to download.
        detect_seconds: How long the function took.
    """

    model_config = ConfigDict(extra="forbid")

    frames: int
    labels: dict[str, int]
    unmatched: dict[str, int]
    below_threshold: int
    outside: int
    empty: int
    overlapping_existing: int
    failed_frames: dict[int, str]
    are_put_to_tracks: bool
    fetch_seconds: float
    detect_seconds: float

    def lines(self) -> list[str]:
        """The trial as lines for a terminal."""
        by_label = f" ({format_counts(self.labels, MOST_LINES)})" if self.labels else ""
        as_what = " in tracks" * self.are_put_to_tracks
        lines = [
            f"tried on {pluralize(self.frames, 'frame')}:"
            f" {pluralize(sum(self.labels.values()), 'annotation')}"
            f" would be written{as_what}{by_label}, {self.fetch_seconds:.2f} s to fetch,"
            f" {self.detect_seconds:.2f} s to detect"
        ]
        if self.unmatched:
            unmatched = format_counts(self.unmatched, MOST_LINES)
            lines.append(f"of what was found, dropped, no such label in the task: {unmatched}")
        reasons = {
            "below their threshold": self.below_threshold,
            "outside the image": self.outside,
            "empty": self.empty,
            "annotated already": self.overlapping_existing,
        }
        if left_out := {why: count for why, count in reasons.items() if count}:
            lines.append(f"of what was found, left out: {format_counts(left_out)}")
        failed = list(self.failed_frames.items())
        lines += [f"frame {frame} failed: {why}" for frame, why in failed[:MOST_LINES]]
        if len(failed) > MOST_LINES:
            lines.append(f"{len(failed) - MOST_LINES} more frames failed")
        return lines


class AnnotateDryRun(DryRun):
    """What a run of a detection function would do.

    Attributes:
        labels: Which label of the task each of the function's becomes; None for those that are dropped.
        skip_existing_iou: From which overlap on with existing annotations something is left out.
        skip_existing_source: Whose annotations count for that.
        left_out_ranges: Which frames are left out, by reason, as text.
        trial: What it would write of the first chunk; None where there is nothing to do.
        seconds: About how long the run would take.
        batches: In about how many batches.
    """

    labels: dict[str, str | None]
    skip_existing_iou: float | None
    skip_existing_source: str
    left_out_ranges: dict[str, str]
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
        lines += self._label_lines()
        if self.skip_existing_iou is not None:
            lines.append(
                f"left out: existing tags, and shapes from IoU {self.skip_existing_iou:g} with existing ones"
                f" ({self.skip_existing_source})"
            )
        if self.trial is None:
            return [*lines, f"nothing to do: {self.nothing_to_do}; {NOTHING_UPLOADED}"]
        batches = pluralize(self.batches, "batch", "batches")
        estimate = f"estimated time: {_duration(self.seconds)}, in about {batches}; {NOTHING_UPLOADED}"
        return [*lines, *self.trial.lines(), estimate]

    def _label_lines(self) -> list[str]:
        matched = [(own, name) for own, name in self.labels.items() if name is not None]
        dropped = [own for own, name in self.labels.items() if name is None]
        lines = [f"label {own!r} -> {name!r}" for own, name in matched[:MOST_LINES]]
        if len(matched) > MOST_LINES:
            lines.append(f"and {pluralize(len(matched) - MOST_LINES, 'more label')} of the task")
        if dropped:
            are_dropped = pluralize(len(dropped), "label is dropped", "labels are dropped")
            lines.append(f"{are_dropped}: {quoted_list(dropped, MOST_LINES)}")
        return lines


class RefineDryRun(DryRun):
    """What a run of an interaction function would do.

    Attributes:
        shapes: How many shapes would be refined, by label.
        to: What each becomes.
        keep_originals: Whether they stay as well.
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
            f" ({format_counts(self.shapes, MOST_LINES)}) on {pluralize(self.frames, 'frame')} to refine",
            f"each becomes a {self.to}{'; the originals stay' if self.keep_originals else ''}",
            f"{pluralize(self.chunks, 'chunk')} of up to {pluralize(self.chunk_size, 'frame')} to fetch",
            f"{pluralize(len(self.jobs), 'job')} to write: {', '.join(map(str, self.jobs))}",
        ]
        lines += [f"left out, {why}: {pluralize(count, 'frame')}" for why, count in self.left_out.items()]
        return [*lines, NOTHING_UPLOADED]


class FollowDryRun(DryRun):
    """What a run of a tracking function would do.

    Attributes:
        shapes: How many shapes would be followed, by label.
        shapes_left_out: How many that were asked for would not be, by reason.
        first_frame: The first frame that they may be followed over; None where there is nothing to do.
        last_frame: The last one.
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
        lines = [f"task {self.task_id} ({self.task_name!r}): {shapes} to follow"]
        lines += [f"left out, {why}: {pluralize(n, 'shape')}" for why, n in self.shapes_left_out.items()]
        if self.first_frame is not None:
            lines.append(
                f"over frames {self.first_frame}-{self.last_frame} at the most,"
                f" {pluralize(self.chunks, 'chunk')} to fetch"
            )
        return [*lines, NOTHING_UPLOADED]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
