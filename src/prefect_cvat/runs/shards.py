"""A large task in pieces: which jobs each has, and what all of them have done together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from prefect_cvat.planning.plan import Plan
from prefect_cvat.review.frame_ranking import FrameReview
from prefect_cvat.runs.report import MOST_FAILED, RunReport

__all__ = ["make_shards", "merge_reports"]

_NUMBERS = (
    *("frames", "frames_from_cache", "batches", "added", "already_there", "removed"),
    *("changed", "not_replaced", "missing", "doubled_by_others", "unsettled"),
    *("clipped", "reordered", "outside", "empty_shapes", "below_threshold", "overlapping_existing"),
    "frames_failed",
)
_COUNTS = ("labels", "unmatched", "stage_seconds")


def make_shards(plan: Plan, jobs: Collection[int] | None, most_frames: int) -> list[tuple[int, ...]]:
    """Split a task by its jobs into pieces of about so many frames, each of them one job at the least.

    Args:
        plan: What a run on the whole task would do.
        jobs: The jobs that are to be annotated; None for all.
        most_frames: How many frames a piece has at the most, but for a single job that has more.

    Returns:
        The numbers of the jobs of each piece.
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
            room = most_frames - frames
    return shards


def merge_reports(whole: RunReport, reports: Iterable[RunReport], review_frames: int) -> RunReport:
    """What runs on pieces of a task have done, as one report.

    A frame that two jobs share is counted in each of them. The frames to look at first are those with the
    most expected work in all of the task; but which labels are rare is judged within each piece.

    Args:
        whole: Says what is true of the task as a whole: its name, what is left out, when it began.
        reports: Of the runs, which have opened no issues; their numbers are added up.
        review_frames: How many frames to look at first there are at the most.
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
        merged.frame_errors = dict(failed[:MOST_FAILED])
        for label, counts in report.scores.items():
            before = merged.scores.get(label, [0] * len(counts))
            merged.scores[label] = [one + other for one, other in zip(before, counts, strict=True)]
    # each piece has ordered its own frames; a frame that two jobs share is in two pieces
    first = sorted((item for report in parts for item in report.review), key=_most_work_first)
    by_frame = {item.frame: item for item in reversed(first)}
    merged.review = sorted(by_frame.values(), key=_most_work_first)[:review_frames]
    return merged


def _most_work_first(item: FrameReview) -> tuple[float, int, int]:
    return -item.expected_work, item.frame, item.job_id
