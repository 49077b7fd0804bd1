"""The Prefect task that downloads the chunks of a batch."""

from typing import Any

from prefect import task

from prefect_cvat.frames import ChunkBatch
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.planned_run import PlannedRun
from prefect_cvat.tasks.policy import NETWORK, bounded_errors

__all__ = ["fetch_batch"]


@task(name="fetch batch", task_run_name="fetch {batch}", **NETWORK)
@bounded_errors
def fetch_batch(run: PlannedRun[Any], batch: Batch) -> ChunkBatch:
    """Download the chunks of a batch; the images stay on disk, in a box."""
    return run.fetch_batch(batch)
