"""What a run did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from prefect_cvat.geometry.clipping import Clipping
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.messages.bounded_text import MAX_MESSAGE_LENGTH, one_line
from prefect_cvat.messages.plurals import format_counts, pluralize
from prefect_cvat.review.frame_ranking import FrameReview

__all__ = ["MAX_FRAME_ERRORS", "RunReport"]


MAX_REVIEW_LINES = 5
"""How many of the frames to look at first are told in lines."""

MAX_FRAME_ERRORS = 1000
"""Of how many of the frames that the function failed on it is told what went wrong."""

MAX_UNMATCHED_LABELS = 5
"""How many of the labels that the task does not have are told in lines; of the others, how many."""


class RunReport(BaseModel):
    """What a run did.

    Attributes:
        run: The id of the run, by which it can be undone: that of the flow run, if it is one. Empty for what
            writes nothing.
        task_id: The task.
        task_name: Its name.
        url: Its address in CVAT.
        function: The name of the function.
        provenance: What made the annotations: the function, its version, how it was used.
        started: When the run began.
        seconds: How long it took.
        frames: How many frames were annotated.
        frames_from_cache: Of how many of them the detections were kept from an earlier run.
        not_kept: Why no detections were kept for later runs, where that was asked for; empty if they were.
        batches: How many batches they came in.
        labels: How many annotations of each label the run produced.
        scores: How the scores of these are distributed, by label: how many are in each of `SCORE_BINS` ranges
            from 0 to 1. Tags have no score, nor has what a function gave none; they are in no range. Runs
            that do not detect (that track or refine shapes) count no scores.
        added: How many annotations of this run are on the server; one on a frame that two jobs share counts
            twice.
        already_there: How many of those that it was to write were there before, equal and of source `auto`,
            or refined by a machine since.
        removed: How many were removed: replaced, or there twice.
        changed: How many were not removed that were to be, because somebody has drawn or changed them while
            the run went on.
        not_replaced: How many were not removed because what takes their place is missing.
        missing: How many were written and are not on the server, also after they had been sent again.
        doubled_by_others: How many another run has added meanwhile that are equal to some of this run.
        unsettled: How many were sent of which it is not known whether they are on the server, or will be.
        clipped: How many shapes were cut at the edge of their image.
        reordered: How many had their corners the wrong way round, and were not cut.
        outside: How many shapes had nothing inside their image, and were left out.
        empty_shapes: How many had no area, no pixel or no visible keypoint, and were left out.
        below_threshold: How many had a score below their threshold, and were left out.
        overlapping_existing: How many tags and shapes were left out because the same is annotated already.
        unmatched: How many were left out because the task has no such label, by the function's label.
        unmatched_labels: What the function can find and the task has no place for.
        left_out: How many frames were not annotated, by reason.
        tracks: How many tracks of each label there are; one that goes through several jobs counts once.
        track_frames: How many frames they are long, all together, gaps included.
        keyframes: How many keyframes they have on which they can be seen.
        source_shapes: How many shapes were tracked over the frames.
        lost: How often one of them was lost before the last frame that it was to be tracked to.
        source_shapes_left_out: How many shapes that were asked for were not tracked, by reason.
        untracked: How many shapes belong to no track: their objects were found too seldom.
        refined: How many shapes an interaction function has found something for.
        not_refined: How many it has found nothing for; these stay as they were.
        frames_failed: How many frames were skipped because the function failed on them.
        frame_errors: What went wrong on the first `MAX_FRAME_ERRORS` of them, by frame.
        review: The frames to look at first, those with the most corrections to be expected.
        issues_opened: On how many frames an issue was opened in CVAT.
        issues_already_there: On how many there was one of an earlier run.
        issues_failed: Why no further issues were opened, where the server refused one.
        nothing_to_do: Why the run had nothing to do; empty where it had something.
        stage_seconds: How long each stage worked, in all; stages overlap.
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
    review: list[FrameReview] = Field(default_factory=list)
    issues_opened: int = 0
    issues_already_there: int = 0
    issues_failed: str = ""
    nothing_to_do: str = ""
    stage_seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def open_ends(self) -> list[str]:
        """What is not on the server as it should be, in words; running again completes it."""
        ends = {
            "not on the server, though sent again": self.missing,
            "not removed, since what takes their place is missing": self.not_replaced,
            "sent, and perhaps still to arrive": self.unsettled,
            "there twice, since another run has added the same": self.doubled_by_others,
        }
        return [f"{count} {what}" for what, count in ends.items() if count]

    @property
    def failed_without_error(self) -> int:
        """How many frames failed of which it is not told what went wrong."""
        return max(0, self.frames_failed - len(self.frame_errors))

    def count_failed(self, errors: Mapping[int, str]) -> None:
        """Add what went wrong on frames that were skipped."""
        self.frames_failed += len(errors)
        room = max(0, MAX_FRAME_ERRORS - len(self.frame_errors))
        self.frame_errors.update(islice(errors.items(), room))

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
        """How many of the annotations in `labels` have no score."""
        return sum(self.labels.values()) - sum(sum(counts) for counts in self.scores.values())

    def count_clippings(self, counts: Mapping[Clipping, int]) -> None:
        """Add what became of shapes at the edges of their images."""
        self.clipped += counts.get(Clipping.CUT, 0)
        self.reordered += counts.get(Clipping.REORDERED, 0)
        self.outside += counts.get(Clipping.OUTSIDE, 0)
        self.empty_shapes += counts.get(Clipping.EMPTY, 0)

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
            of_them = pluralize(self.frames_from_cache, "of them was", "of them were")
            lines.append(f"{of_them} detected in an earlier run")
        if self.not_kept:
            lines.append(f"detections are not kept for later runs: {self.not_kept}")
        lines += [
            f"annotations: {format_counts(self.labels)}",
            f"written: {self.added} added, {self.already_there} already there, {self.removed} removed",
        ]
        if self.changed:
            lines.append(f"not removed, drawn or changed by somebody meanwhile: {self.changed}")
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
            stay = pluralize(
                self.not_refined, "stays, nothing was found for it", "stay, nothing was found for them"
            )
            lines.append(
                f"refined: {pluralize(self.refined, 'shape')}" + (f"; {stay}" if self.not_refined else "")
            )
        changes = {
            "cut at the edge": self.clipped,
            "with corners put in order": self.reordered,
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
            f"look first at frame {item.frame}, {item.expected_corrections:.2f} corrections expected"
            f" ({'; '.join(item.reasons)}): {item.url}"
            for item in self.review[:MAX_REVIEW_LINES]
        ]
        if self.issues_opened or self.issues_already_there:
            there = f", {self.issues_already_there} there already" if self.issues_already_there else ""
            lines.append(f"issues: {self.issues_opened} opened{there}")
        if self.issues_failed:
            lines.append(f"issues that were not opened: {self.issues_failed}")
        return [one_line(line, MAX_MESSAGE_LENGTH) for line in lines]
