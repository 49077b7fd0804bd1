"""The Prefect task that matches a function's labels with a task's."""

from prefect import task

from prefect_cvat.mapping import LabelMapping
from prefect_cvat.run import Run
from prefect_cvat.tasks.policy import PURE

__all__ = ["validate_spec"]


@task(name="validate spec", **PURE)
def validate_spec(run: Run) -> LabelMapping:
    """Match the function's labels with the task's, before anything is downloaded."""
    return run.validate_spec()
