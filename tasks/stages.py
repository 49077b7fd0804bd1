"""The stages of a run as Prefect tasks.

Each calls the method of `Run` or `PlannedRun` that has its name, and adds what Prefect offers: retries, and a
task run in Prefect's pages. `run_pipeline` calls them through `PrefectSubmitter`.
"""

from __future__ import annotations

from typing import Any

from prefect import Task, task

from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.frames import BatchDetections, ChunkBatch
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.execution.run_context import Workspace
from prefect_cvat.tasks.prefect_task_options import NO_RETRIES, RETRY_NETWORK_ERRORS, shorten_errors

__all__ = [
    "PrefectSubmitter",
    "detect_batch",
    "fetch_batch",
    "finish_upload",
    "plan_task",
    "remap_labels",
    "upload_batch",
    "validate_spec",
]


@task(name="plan task", **RETRY_NETWORK_ERRORS)
@shorten_errors
def plan_task(run: Run, workspace: Workspace) -> PlannedRun[Any]:
    """Read the task from CVAT, and select its frames and jobs."""
    return run.plan_task(workspace)


@task(name="validate spec", **NO_RETRIES)
@shorten_errors
def validate_spec(run: PlannedRun[Any]) -> Any:
    """Check that the function fits the labels of the task, before anything is downloaded."""
    return run.validate_spec()


@task(name="fetch batch", task_run_name="fetch {batch}", **RETRY_NETWORK_ERRORS)
@shorten_errors
def fetch_batch(run: PlannedRun[Any], batch: Batch) -> ChunkBatch:
    """Download the chunks of a batch to files on disk: all of them, so that Prefect retries this task."""
    chunks = run.fetch_batch(batch)
    run.wait_for_chunks(batch, chunks)
    return chunks


@task(name="detect batch", task_run_name="detect {batch}", **NO_RETRIES)
@shorten_errors
def detect_batch(
    run: PlannedRun[Any], batch: Batch, chunks: ChunkBatch, after: object = None
) -> BatchDetections:
    """Run the function on the frames of a batch; one batch at a time uses the device."""
    return run.detect_batch(batch, chunks, after)


@task(name="remap labels", task_run_name="remap {batch}", **NO_RETRIES)
@shorten_errors
def remap_labels(run: PlannedRun[Annotations], batch: Batch, detections: BatchDetections) -> Annotations:
    """Convert detections to annotations with the labels of the task, clipped to the image."""
    return run.remap_labels(batch, detections)


@task(name="upload batch", task_run_name="upload {batch}", **RETRY_NETWORK_ERRORS)
@shorten_errors
def upload_batch(run: PlannedRun[Any], batch: Batch, annotations: Annotations, after: object = None) -> int:
    """Write the annotations of a batch to its jobs, each exactly once; return the number of frames."""
    return run.upload_batch(batch, annotations, after)


@task(name="finish upload", **RETRY_NETWORK_ERRORS)
@shorten_errors
def finish_upload(run: PlannedRun[Any]) -> None:
    """Verify every job, and remove duplicates and annotations that were replaced."""
    run.finish_upload()


_STAGES: dict[str, Task[Any, Any]] = {
    stage.fn.__name__: stage
    for stage in (
        plan_task,
        validate_spec,
        fetch_batch,
        detect_batch,
        remap_labels,
        upload_batch,
        finish_upload,
    )
}


class PrefectSubmitter:
    """Runs the stages of a run as Prefect task runs of the current flow run."""

    def submit(self, stage: str, run: Any, *args: Any) -> Any:
        """Submit a stage, given by its name; Prefect waits for the futures among the arguments."""
        return _STAGES[stage].submit(run, *args)
