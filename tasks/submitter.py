"""The stages as Prefect tasks, in the form that the pipeline puts together."""

from __future__ import annotations

from typing import Any

from prefect import Task

from prefect_cvat.tasks.detect import detect_batch
from prefect_cvat.tasks.fetch import fetch_batch
from prefect_cvat.tasks.plan import plan_task
from prefect_cvat.tasks.remap import remap_labels
from prefect_cvat.tasks.upload import finish_upload, upload_batch
from prefect_cvat.tasks.validate import validate_spec

__all__ = ["PrefectSubmitter"]

_STAGES: dict[str, Task[Any, Any]] = {
    task.fn.__name__: task
    for task in (
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
    """Carries out stages as Prefect task runs of the current flow run."""

    def submit(self, stage: str, run: Any, *args: Any) -> Any:
        """Submit the Prefect task of a stage; Prefect waits for futures among the arguments."""
        return _STAGES[stage].submit(run, *args)
