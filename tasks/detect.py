"""The Prefect task that runs the function on a batch."""

from typing import Any

from prefect import task

from prefect_cvat.frames import ChunkBatch
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.planned_run import BatchDetections, PlannedRun
from prefect_cvat.tasks.policy import PURE, bounded_errors

__all__ = ["detect_batch"]


@task(name="detect batch", task_run_name="detect {batch}", **PURE)
@bounded_errors
def detect_batch(
    run: PlannedRun[Any], batch: Batch, box: ChunkBatch, after: object = None
) -> BatchDetections:
    """Run the function on the frames of a batch; one batch at a time has the device."""
    return run.detect_batch(batch, box, after)
