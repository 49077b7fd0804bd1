"""Splits a large task into shards of whole jobs, and merges the reports of their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from prefect_cvat.planning.plan import Plan
from prefect_cvat.review.frame_ranking import FrameReview
from prefect_cvat.runs.reports.frame_and_annotation_counts import MAX_FRAME_ERRORS
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["make_shards", "merge_reports"]

_NUMBERS = (
    *("frames", "frames_from_cache", "batches", "added", "already_there", "removed"),
    *("changed", "not_replaced", "missing", "doubled_by_others", "unsettled"),
    *("clipped", "reordered", "outside", "empty_shapes", "below_threshold", "overlapping_existing"),
    "frames_failed",
)
_COUNTS = ("labels", "unmatched", "stage_seconds")


def make_shards(plan: Plan, jobs: Collection[int] | None, max_frames: int) -> list[tuple[int, ...]]:
    """Split the jobs of a task into shards of at most `max_frames` frames each.

    Args:
        plan: The plan of a run on the whole task.
        jobs: The ids of the jobs to annotate; None for all.
        max_frames: The maximum number of frames of a shard. A job with more frames is a shard of its own.

    Returns:
        The ids of the jobs of each shard.
    """
    shards: list[tuple[int, ...]] = []
    room = 0
    for job in plan.jobs:
        if jobs is not None and job.id not in jobs:
            continue
        frames = plan.frames.count_between(job.start_frame, job.stop_frame)
        if shards and frames <= room:
            shards[-1] += (job.id,)
            room -= frames
        else:
            shards.append((job.id,))
            room = max_frames - frames
    return shards


def merge_reports(whole: RunReport, reports: Iterable[RunReport], review_frames: int) -> RunReport:
    """Merge the reports of the shards of a task.

    A frame that two jobs share counts once for each. The frames to review are ranked by expected
    corrections over the whole task, but a label counts as rare by its frequency in the shard.

    Args:
        whole: A report on the whole task: its name, left-out frames, start time.
        reports: The reports of the shards; their numbers are summed.
        review_frames: The maximum number of frames to review.
    """
    merged = whole.model_copy(deep=True)
    parts = list(reports)
    for report in parts:
        merged.unmatched_labels = report.unmatched_labels
        merged.not_kept = report.not_kept
        merged.provenance = report.provenance
        for name in _NUMBERS:
            setattr(merged, name, getattr(merged, name) + getattr(report, name))
        for name in _COUNTS:
            setattr(merged, name, dict(Counter(getattr(merged, name)) + Counter(getattr(report, name))))
        failed = sorted({**merged.frame_errors, **report.frame_errors}.items())
        merged.frame_errors = dict(failed[:MAX_FRAME_ERRORS])
        for label, counts in report.scores.items():
            before = merged.scores.get(label, [0] * len(counts))
            merged.scores[label] = [one + other for one, other in zip(before, counts, strict=True)]
    # a frame that two jobs share may be in two shards
    first = sorted((item for report in parts for item in report.review), key=_most_corrections_first)
    by_frame = {item.frame: item for item in reversed(first)}
    merged.review = sorted(by_frame.values(), key=_most_corrections_first)[:review_frames]
    return merged


def _most_corrections_first(item: FrameReview) -> tuple[float, int, int]:
    return -item.expected_corrections, item.frame, item.job_id
