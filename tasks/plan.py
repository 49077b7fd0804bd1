"""The Prefect task that decides what a run will do."""

from prefect import task

from prefect_cvat.planning.plan import Plan
from prefect_cvat.runs.run import Run
from prefect_cvat.tasks.task_options import NETWORK, bounded_errors

__all__ = ["plan_task"]


@task(name="plan task", **NETWORK)
@bounded_errors
def plan_task(run: Run) -> Plan:
    """Ask the server about the task, and decide which frames to annotate."""
    return run.plan_task()
