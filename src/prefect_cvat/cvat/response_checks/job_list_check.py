"""Compares a list of jobs with the counts of its task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prefect_cvat.models import Job, Task

__all__ = ["job_list_error"]


def job_list_error(task: Task, jobs: Sequence[Job]) -> str | None:
    """Why a list of jobs is incomplete, or None: CVAT leaves out jobs that the user may not see.

    Each frame of a task is in an annotation job; frames of a ground-truth pool are in the ground-truth job.
    """
    if not task.size:
        return None
    listed = f"{len(jobs) or 'none'} of them"
    if task.jobs is not None and len(jobs) < task.jobs.count:
        return (
            f"task {task.id} has {task.jobs.count} jobs, but the server lists {listed} for this user; may"
            " this user see all of them?"
        )
    types = {"annotation", "ground_truth"} if task.validation_mode == "gt_pool" else {"annotation"}
    frame = _first_outside((job for job in jobs if job.type in types), task.size)
    if frame is None:
        return None
    return (
        f"task {task.id} has {task.size} frames, but no listed job has frame {frame}; may this user see all"
        " of its jobs?"
    )


def _first_outside(jobs: Iterable[Job], size: int) -> int | None:
    frame = 0
    for job in sorted(jobs, key=lambda job: job.start_frame):
        if job.start_frame > frame:
            break
        frame = max(frame, job.stop_frame + 1)
    return frame if frame < size else None
