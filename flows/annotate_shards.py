"""The flow that annotates one large task in shards: one flow run, on all machines of a Dask cluster."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import MissingLibraryError, RunsFailedError
from prefect_cvat.existing import Existing
from prefect_cvat.flows.parameters import (
    DETECTION_FUNCTION,
    FrameSelection,
    LabelMatching,
    RunSettings,
    TaskId,
    Threshold,
    choose_function,
    make_options,
    name_run,
)
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.plan import Plan, make_plan, read_task
from prefect_cvat.report import RunReport
from prefect_cvat.settings import Settings
from prefect_cvat.shards import make_shards, merge_reports
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report
from prefect_cvat.tasks.shard import Shard, annotate_shard

__all__ = ["annotate_shards", "shard_task_runner"]


def shard_task_runner(address: str | None) -> TaskRunner[Any]:
    """Where shards run: in threads of the flow run, or on a Dask cluster.

    Args:
        address: That of a Dask scheduler; `local` starts a cluster on this machine for each flow run; None
            takes threads.

    Raises:
        MissingLibraryError: prefect-dask is not installed.
    """
    if address is None:
        return ThreadPoolTaskRunner()
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise MissingLibraryError(
            "shards on Dask need prefect-dask; install it with: pip install 'prefect-cvat[dask]'"
        ) from None
    if address == "local":
        return DaskTaskRunner(cluster_kwargs={"threads_per_worker": 1})
    return DaskTaskRunner(address=address)


@flow(
    name="annotate shards",
    flow_run_name=name_run,
    task_runner=shard_task_runner(Settings().dask_address),
    persist_result=False,
    retries=0,
)
def annotate_shards(
    task_id: TaskId,
    credentials: CvatCredentials,
    shard_frames: Annotated[int, Field(ge=1)] = 1000,
    function: str = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    existing: Existing = Existing.KEEP,
    conf_threshold: Threshold | None = None,
    allow_unmatched_labels: bool = False,
    conv_mask_to_poly: bool = False,
    labels: LabelMatching = LabelMatching(),  # noqa: B008 (frozen; the form shows its fields)
    frames: FrameSelection = FrameSelection(),  # noqa: B008
    settings: RunSettings = RunSettings(),  # noqa: B008
) -> RunReport:
    """Annotate a large CVAT task in pieces of whole jobs, each a Prefect task that may run anywhere.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT; saved, as each piece loads it for itself.
        shard_frames: About how many frames a piece has; a job is never split.
        function: A built-in function, such as nanodet_detection, or one that a package has registered.
        function_parameters: Parameters of the function, each value as type:value, such as float:0.3.
        function_block: A block with a configured function, instead of the function and its thresholds here.
        existing: What becomes of the annotations that the task has already.
        conf_threshold: The least score, 0 to 1; empty leaves it to the function.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conv_mask_to_poly: Write polygons instead of masks.
        labels: How the labels of the function are matched with those of the task.
        frames: Which frames and jobs, and which images of them.
        settings: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    started = time.perf_counter()
    chosen = choose_function(
        function_block,
        function,
        function_parameters,
        labels=labels,
        device=settings.device,
        conf_threshold=conf_threshold,
        allow_unmatched_labels=allow_unmatched_labels,
        conv_mask_to_poly=conv_mask_to_poly,
    )
    if credentials._block_document_id is None:
        raise ValueError("the credentials have not been saved, so no shard could load them; save the block")
    options = make_options(chosen, frames, settings, existing=existing)
    with credentials.get_client() as client:
        plan = make_plan(read_task(client, task_id), options.selection)
        whole = _report_of(plan, f"{client.url}/tasks/{task_id}", chosen.function)
        progress = ArtifactProgress(whole, get_run_logger())
        progress.start(len(plan.frames))
        futures = [
            annotate_shard.submit(
                Shard(
                    task_id,
                    str(credentials._block_document_id),
                    chosen.model_dump_json(include=set(CvatFunction.model_fields)),
                    make_options(
                        chosen, frames.model_copy(update={"jobs": list(jobs)}), settings, existing=existing
                    ),
                )
            )
            for jobs in make_shards(plan, options.selection.jobs, shard_frames)
        ]
        reports: list[RunReport] = []
        failed: list[str] = []
        for future in as_completed(futures):
            report = future.result(raise_on_failure=False)
            if isinstance(report, RunReport):
                reports.append(report)
                progress.advance(report.frames)
            else:  # what went wrong
                failed.append(str(report).partition("\n")[0])
        progress.finish()
        merged = merge_reports(whole, reports).model_copy(update={"seconds": time.perf_counter() - started})
        error = f"{len(failed)} of {len(futures)} shards did not complete: {'; '.join(failed[:5])}"
        publish_report(
            merged,
            outcome="failed" if failed else "completed",
            error=error if failed else None,
            pictures=draw_frames(client, plan),
        )
    if failed:
        raise RunsFailedError(error)
    return merged


def _report_of(plan: Plan, url: str, function: str) -> RunReport:
    return RunReport(
        task_id=plan.task.id,
        task_name=plan.task.name,
        url=url,
        function=function,
        started=datetime.now(UTC),
        left_out={why.value: len(frames) for why, frames in plan.left_out.items()},
    )
