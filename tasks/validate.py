"""The Prefect task that holds a function against a task."""

from typing import Any

from prefect import task

from prefect_cvat.runs.planned_run import PlannedRun
from prefect_cvat.tasks.policy import PURE, bounded_errors

__all__ = ["validate_spec"]


@task(name="validate spec", **PURE)
@bounded_errors
def validate_spec(run: PlannedRun[Any]) -> Any:
    """Hold the function against the task, before anything is downloaded; return what the run makes of it."""
    return run.validate_spec()
