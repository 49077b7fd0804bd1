"""The report of a run."""

from __future__ import annotations

from datetime import datetime

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.messages.bounded_text import MAX_MESSAGE_LENGTH, one_line
from prefect_cvat.messages.plurals import format_counts, pluralize
from prefect_cvat.review.frame_ranking import FrameReview
from prefect_cvat.runs.reports.notebook_table import render_table

__all__ = ["RunReport", "cached_frames"]


MAX_REVIEW_LINES = 5
"""Maximum number of frames to review that `lines` lists."""

MAX_REVIEW_ROWS = 10
"""Maximum number of frames to review in the table of a notebook."""

MAX_UNMATCHED_LABELS = 5
"""Maximum number of unmatched labels that `lines` lists."""


class RunReport(BaseModel):
    """The report of a run. Counts are numbers of annotations unless stated otherwise.

    Attributes:
        run: Run id for `undo`: the id of the flow run, if there is one. Empty for a run that writes nothing.
        task_id: Id of the task.
        task_name: Name of the task.
        url: URL of the task.
        function: Name of the function.
        provenance: The function, its version and its settings.
        started: Start time.
        seconds: Duration in seconds.
        frames: Number of processed frames.
        frames_from_cache: Number of frames whose detections came from the cache.
        not_kept: Why detections were not cached although the cache is enabled; else empty.
        batches: Number of batches.
        labels: Annotations that the run produced, by label of the task.
        scores: Histogram of scores by label, with `SCORE_BINS` bins from 0 to 1, without tags and shapes that
            have no score. Runs that track or refine shapes have no histogram.
        added: Annotations of this run on the server. An annotation on a frame of two jobs counts twice.
        already_there: Annotations that existed before the run: equal and of source `auto`, or refined from
            an equal one.
        removed: Removed annotations: replaced ones and duplicates.
        changed: Annotations that were not removed, because somebody drew or changed them during the run.
        not_replaced: Annotations that were not removed, because their replacements are missing.
        missing: Annotations that are not on the server although they were sent again.
        doubled_by_others: Annotations of another run that are equal to annotations of this run.
        unsettled: Annotations in requests of unknown outcome.
        clipped: Shapes clipped at the edge of the image.
        reordered: Shapes whose corners were reordered and that were not clipped.
        outside: Shapes left out because they were completely outside the image.
        empty_shapes: Shapes left out because they had no area, pixels or visible keypoints.
        below_threshold: Annotations left out because of a score below the threshold.
        overlapping_existing: Tags and shapes left out because they overlap existing annotations.
        unmatched: Annotations left out because the task lacks their label, by label of the function.
        unmatched_labels: Labels and attributes of the function that the task lacks.
        left_out: Number of frames left out, by reason.
        tracks: Number of tracks by label. A track in several jobs counts once.
        track_frames: Total length of the tracks in frames, gaps included.
        keyframes: Number of visible keyframes of the tracks.
        source_shapes: Number of tracked source shapes.
        lost: How often an object was lost before the last frame to track to.
        source_shapes_left_out: Number of selected shapes that were not tracked, by reason.
        untracked: Shapes in no track, because their tracks would be too short.
        refined: Number of shapes with a result of the interaction function.
        not_refined: Number of shapes without a result; they stay unchanged.
        frames_failed: Number of frames skipped because the function failed on them.
        frame_errors: Errors on the first 1000 of these frames, by frame.
        learned: What was learned from corrections and used, or why nothing was; else empty.
        review: The frames to review first, by expected corrections.
        issues_opened: Number of frames on which an issue was opened in CVAT.
        issues_already_there: Number of frames that had an issue of an earlier run.
        issues_failed: The error that stopped the opening of issues; empty if there was none.
        nothing_to_do: Why the run had nothing to do; else empty.
        stage_seconds: Seconds of each stage, without waits for other stages; stages overlap.
    """

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    run: str = ""
    task_id: int
    task_name: str
    url: str
    function: str
    provenance: Provenance | None = None
    started: datetime
    seconds: float = 0.0
    frames: int = 0
    frames_from_cache: int = 0
    not_kept: str = ""
    batches: int = 0
    labels: dict[str, int] = Field(default_factory=dict)
    scores: dict[str, list[int]] = Field(default_factory=dict)
    added: int = 0
    already_there: int = 0
    removed: int = 0
    changed: int = 0
    not_replaced: int = 0
    missing: int = 0
    doubled_by_others: int = 0
    unsettled: int = 0
    clipped: int = 0
    reordered: int = 0
    outside: int = 0
    empty_shapes: int = 0
    below_threshold: int = 0
    overlapping_existing: int = 0
    unmatched: dict[str, int] = Field(default_factory=dict)
    unmatched_labels: list[str] = Field(default_factory=list)
    left_out: dict[str, int] = Field(default_factory=dict)
    tracks: dict[str, int] = Field(default_factory=dict)
    track_frames: int = 0
    keyframes: int = 0
    source_shapes: int = Field(default=0, validation_alias=AliasChoices("source_shapes", "seeds"))
    lost: int = 0
    source_shapes_left_out: dict[str, int] = Field(
        default_factory=dict, validation_alias=AliasChoices("source_shapes_left_out", "seeds_left_out")
    )
    untracked: int = 0
    refined: int = 0
    not_refined: int = 0
    frames_failed: int = Field(default=0, validation_alias=AliasChoices("frames_failed", "failed"))
    frame_errors: dict[int, str] = Field(
        default_factory=dict, validation_alias=AliasChoices("frame_errors", "failed_frames")
    )
    learned: str = ""
    review: list[FrameReview] = Field(default_factory=list)
    issues_opened: int = 0
    issues_already_there: int = 0
    issues_failed: str = ""
    nothing_to_do: str = ""
    stage_seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def open_ends(self) -> list[str]:
        """Descriptions of annotations that are wrong on the server."""
        ends = {
            "not on the server, though sent again": self.missing,
            "not removed, since their replacements are missing": self.not_replaced,
            "sent, with unknown result": self.unsettled,
            "duplicated, since another run has added the same": self.doubled_by_others,
        }
        return [f"{count} {what}" for what, count in ends.items() if count]

    @property
    def headline(self) -> str:
        """The result in a few words, such as `1,204 added on 310 frames, 3 to look at`."""
        if self.nothing_to_do:
            return one_line(f"nothing to do: {self.nothing_to_do}", MAX_MESSAGE_LENGTH)
        counts = {
            "already there": self.already_there,
            "removed": self.removed,
            "failed": self.frames_failed,
            "to look at": len(self.review),
        }
        on = f"{self.added:,} added on {self.frames:,} {'frame' if self.frames == 1 else 'frames'}"
        return ", ".join([on, *(f"{count:,} {what}" for what, count in counts.items() if count)])

    @property
    def failed_without_error(self) -> int:
        """Number of failed frames without an entry in `frame_errors`."""
        return max(0, self.frames_failed - len(self.frame_errors))

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the whole run."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def _by_whom(self) -> str:
        source = "manual" if self.provenance is None else self.provenance.skip_existing_source
        return {"manual": "by humans ", "auto": "by machines "}.get(source, "")

    @property
    def without_score(self) -> int:
        """Number of annotations in `labels` without a score."""
        return sum(self.labels.values()) - sum(sum(counts) for counts in self.scores.values())

    def lines(self) -> list[str]:
        """The report as plain lines, for a terminal or a log."""
        lines = [
            f"task {self.task_id} ({self.task_name!r}) at {self.url}",
            *([f"run {self.run}"] * bool(self.run)),
            *([f"nothing to do: {self.nothing_to_do}"] * bool(self.nothing_to_do)),
            f"{pluralize(self.frames, 'frame')} in {self.seconds:.1f} s"
            f" ({self.frames_per_second:.1f} frames per second)",
        ]
        if self.frames_from_cache:
            lines.append(cached_frames(self.frames_from_cache))
        if self.not_kept:
            lines.append(f"detections are not cached: {self.not_kept}")
        if self.learned:
            lines.append(self.learned)
        lines += [
            f"annotations: {format_counts(self.labels)}",
            f"written: {self.added} added, {self.already_there} already there, {self.removed} removed",
        ]
        if self.changed:
            lines.append(f"not removed, drawn or changed by somebody during the run: {self.changed}")
        if self.open_ends:
            lines.append(f"not complete: {'; '.join(self.open_ends)}; run it again")
        if self.tracks:
            length = self.track_frames / sum(self.tracks.values())
            lines.append(
                f"tracks: {format_counts(self.tracks)}; {length:.1f} frames long on average,"
                f" {pluralize(self.keyframes, 'keyframe')}"
            )
        if self.source_shapes:
            lines.append(
                f"tracked: {pluralize(self.source_shapes, 'shape')}, lost {pluralize(self.lost, 'time')}"
            )
        if self.source_shapes_left_out:
            lines.append(f"not tracked: {format_counts(self.source_shapes_left_out)}")
        if self.refined or self.not_refined:
            stay = pluralize(self.not_refined, "stays, without a result", "stay, without a result")
            lines.append(
                f"refined: {pluralize(self.refined, 'shape')}" + (f"; {stay}" if self.not_refined else "")
            )
        changes = {
            "clipped at the edge": self.clipped,
            "with corners reordered": self.reordered,
            "outside the image": self.outside,
            "empty": self.empty_shapes,
            "below their threshold": self.below_threshold,
            "in no track": self.untracked,
        }
        if any(changes.values()):
            lines.append(f"shapes: {format_counts({name: n for name, n in changes.items() if n})}")
        if self.overlapping_existing:
            lines.append(f"left out, annotated {self._by_whom}already: {self.overlapping_existing}")
        if self.unmatched:
            lines.append(
                f"dropped, no such label in the task: {format_counts(self.unmatched, MAX_UNMATCHED_LABELS)}"
            )
        if self.left_out:
            lines.append(f"frames left out: {format_counts(self.left_out)}")
        lines += [f"frame {frame} failed: {error}" for frame, error in sorted(self.frame_errors.items())]
        if more := self.failed_without_error:
            lines.append(f"{pluralize(more, 'more frame')} failed")
        lines += [
            f"review frame {item.frame} first, {item.expected_corrections:.2f} corrections expected"
            f" ({'; '.join(item.reasons)}): {item.url}"
            for item in self.review[:MAX_REVIEW_LINES]
        ]
        if self.issues_opened or self.issues_already_there:
            there = f", {self.issues_already_there} there already" if self.issues_already_there else ""
            lines.append(f"issues: {self.issues_opened} opened{there}")
        if self.issues_failed:
            lines.append(f"issues that were not opened: {self.issues_failed}")
        return [one_line(line, MAX_MESSAGE_LENGTH) for line in lines]

    def _repr_html_(self) -> str:
        """The report as a table with the frames to review first, as notebooks show it."""
        heading = f"Task {self.task_id}" + (f", {self.task_name}" if self.task_name else "")
        facts = [self.headline, *(f"not complete: {end}" for end in self.open_ends)]
        return render_table(heading, self.url, facts, self.labels, self.review, MAX_REVIEW_ROWS)


def cached_frames(count: int) -> str:
    """The number of frames from the cache in words: `3 of them were detected in an earlier run`."""
    return f"{pluralize(count, 'of them was', 'of them were')} detected in an earlier run"
