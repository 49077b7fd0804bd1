"""The Prefect task that decides what a run will do."""

from typing import Any

from prefect import task

from prefect_cvat.runs.planned_run import PlannedRun
from prefect_cvat.runs.run import Run
from prefect_cvat.runs.run_context import Workspace
from prefect_cvat.tasks.policy import NETWORK, bounded_errors

__all__ = ["plan_task"]


@task(name="plan task", **NETWORK)
@bounded_errors
def plan_task(run: Run, workspace: Workspace) -> PlannedRun[Any]:
    """Ask the server about the task, and decide which frames to annotate."""
    return run.plan_task(workspace)
