"""The Prefect tasks that write annotations to the server."""

from typing import Any

from prefect import task

from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.planned_run import PlannedRun
from prefect_cvat.tasks.policy import NETWORK, bounded_errors

__all__ = ["finish_upload", "upload_batch"]


@task(name="upload batch", task_run_name="upload {batch}", **NETWORK)
@bounded_errors
def upload_batch(run: PlannedRun[Any], batch: Batch, annotations: Annotations, after: object = None) -> int:
    """Write the annotations of a batch to its jobs, each exactly once; return the number of frames."""
    return run.upload_batch(batch, annotations, after)


@task(name="finish upload", **NETWORK)
@bounded_errors
def finish_upload(run: PlannedRun[Any]) -> None:
    """Read every job once more, and remove what is there twice or has been replaced."""
    run.finish_upload()
