"""Detects changes to the jobs of a task since the plan."""

from __future__ import annotations

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import JobsChangedError
from prefect_cvat.planning.plan import Plan

__all__ = ["check_jobs"]


def check_jobs(client: Client, plan: Plan) -> None:
    """Check that the task still has the jobs of the plan, with the same frames.

    Raises:
        JobsChangedError: It does not. Written annotations may be in other jobs.
    """
    now = {job.id: job for job in client.visible_jobs(plan.task.id) if job.type == "annotation"}
    for job in plan.jobs:
        found = now.pop(job.id, None)
        frames = f"frames {job.start_frame}-{job.stop_frame}"
        if found is None:
            change = f"job {job.id} ({frames}) is gone"
        elif (found.start_frame, found.stop_frame) != (job.start_frame, job.stop_frame):
            change = f"job {job.id} had {frames} and has {found.start_frame}-{found.stop_frame}"
        else:
            continue
        raise JobsChangedError(_changed(plan.task.id, change))
    if now:
        raise JobsChangedError(_changed(plan.task.id, f"job {min(now)} is new"))


def _changed(task_id: int, change: str) -> str:
    return (
        f"task {task_id}: its jobs have changed since the run began ({change}); written annotations"
        " stay. Run it again: nothing is added twice"
    )
