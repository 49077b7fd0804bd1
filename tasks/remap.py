"""The Prefect task that puts detections into the labels of the task."""

from prefect import task

from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.planned_run import BatchDetections, PlannedRun
from prefect_cvat.tasks.policy import PURE, bounded_errors

__all__ = ["remap_labels"]


@task(name="remap labels", task_run_name="remap {batch}", **PURE)
@bounded_errors
def remap_labels(run: PlannedRun[Annotations], batch: Batch, detections: BatchDetections) -> Annotations:
    """Put what was found into the labels of the task, cut at the edges of the image."""
    return run.remap_labels(batch, detections)
