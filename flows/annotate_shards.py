"""The flow that annotates one large task in shards: one flow run, on all machines of a Dask cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import MissingLibraryError, RunsFailedError
from prefect_cvat.flows.carry_out import tell_what_is_there
from prefect_cvat.flows.fan_out import block_document_id
from prefect_cvat.flows.parameters import (
    DETECTION_FUNCTION,
    FrameSelection,
    LabelMatching,
    LeastIou,
    RunSettings,
    TaskId,
    Threshold,
    choose_function,
    make_options,
    name_run,
)
from prefect_cvat.flows.run_tags import add_tags, look_up_version, run_key, task_tag
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.annotated_frames import exclude_annotated
from prefect_cvat.planning.plan import Plan, make_plan, read_task
from prefect_cvat.records.record_writer import RecordHeader, RunRecord
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.review_issues import open_issues
from prefect_cvat.runs.shards import make_shards, merge_reports
from prefect_cvat.settings import Settings
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report
from prefect_cvat.tasks.policy import bounded_errors
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
    skip_existing_iou: LeastIou | None = None,
    skip_existing_source: ExistingSource = ExistingSource.MANUAL,
    conf_threshold: Threshold | None = None,
    allow_unmatched_labels: bool = False,
    conv_mask_to_poly: bool = False,
    labels: LabelMatching = LabelMatching(),  # noqa: B008 (frozen; the form shows its fields)
    frames: FrameSelection = FrameSelection(),  # noqa: B008
    settings: RunSettings = RunSettings(),  # noqa: B008
) -> RunReport:
    """Annotate a large CVAT task in pieces of whole jobs, each a Prefect task that may run anywhere.

    The frames to look at first, and to open issues on, are those of the whole task. Which labels are rare,
    one of the reasons to look at a frame, is judged within each piece.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT; saved, as each piece loads it for itself.
        shard_frames: About how many frames a piece has; a job is never split.
        function: A built-in function, such as nanodet_detection, or one that a package has registered.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function and thresholds here.
        existing: What becomes of the annotations that the task has already.
        skip_existing_iou: Leave out existing tags, and shapes that overlap existing ones by this IoU.
        skip_existing_source: Whose annotations count for that: manual, auto, or all.
        conf_threshold: The least score, 0 to 1; empty leaves it to the function.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conv_mask_to_poly: Write polygons instead of masks.
        labels: How the labels of the function are matched with those of the task.
        frames: Which frames and jobs, and which images of them.
        settings: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
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
    document = block_document_id(credentials)
    options = make_options(
        chosen,
        frames,
        settings,
        existing=existing,
        skip_existing_iou=skip_existing_iou,
        skip_existing_source=skip_existing_source,
    )
    with credentials.get_client() as client:
        client.check_may_write()
        version = look_up_version(chosen, client.url)
        plan = make_plan(read_task(client, task_id, options.selection), options.selection)
        if options.selection.unannotated:
            plan = exclude_annotated(client, plan)
        media = plan.info.meta.chunks_updated_date
        key = run_key(client.url, task_id, media, version, "annotate", options)
        add_tags([task_tag(client.url, task_id), chosen.function, key])
        shards = [
            Shard(
                task_id,
                document,
                chosen.model_dump_json(include=set(CvatFunction.model_fields)),
                _options_of_shard(options, jobs),
            )
            for jobs in make_shards(plan, options.selection.jobs, shard_frames)
        ]
        whole = _report_of(plan, plan.info.page(client.url), chosen.function)
        report = _carry_out(shards, whole, client, plan, options)
        publish_report(report, pictures=draw_frames(client, plan))
    return report


def _options_of_shard(options: Options, jobs: tuple[int, ...]) -> Options:
    """Those of a run on some jobs: it opens no issues, but tells which frames it would open them on."""
    return replace(
        options,
        selection=replace(options.selection, jobs=jobs),
        review_frames=options.frames_to_rank,
        open_issues=0,
    )


@bounded_errors
def _carry_out(
    shards: Sequence[Shard], whole: RunReport, client: Client, plan: Plan, options: Options
) -> RunReport:
    """Have shards annotated, put their reports together, and open issues where there is most doubt in all.

    Raises:
        RunsFailedError: Some of them did not complete.
    """
    started = time.perf_counter()
    progress = ArtifactProgress(whole, get_run_logger())
    progress.start(len(plan.frames))
    reports: list[RunReport] = []
    failed: list[str] = []
    try:
        with _context_without_secrets():
            futures = [annotate_shard.submit(shard) for shard in shards]
        for future in as_completed(futures):
            report = _report_or_error(future)
            if isinstance(report, RunReport):
                reports.append(report)
                progress.advance(report.frames)
            else:
                failed.append(str(report).partition("\n")[0] or type(report).__name__)
        _check_all_completed(failed, len(shards))
        merged = merge_reports(whole, reports, options.frames_to_rank)
        if options.open_issues:
            reviews = merged.review[: options.open_issues]
            open_issues(client, reviews, plan.info, _record_of(merged, client.url, plan), merged)
    except BaseException as error:
        merged = merge_reports(whole, reports, options.review_frames)
        merged.seconds = time.perf_counter() - started
        tell_what_is_there(merged, error)
        raise
    finally:
        progress.finish()
    merged.review = merged.review[: options.review_frames]
    merged.seconds = time.perf_counter() - started
    return merged


def _record_of(report: RunReport, server: str, plan: Plan) -> RunRecord:
    """Where it is written down what the flow run itself adds: issues. Each shard writes a file of its own."""

    def header() -> RecordHeader:
        assert report.provenance is not None, "a shard that has annotated frames has told it"
        return RecordHeader(
            run=report.run,
            server=server,
            task_id=report.task_id,
            task=plan.info.identity(plan.jobs),
            started=report.started,
            provenance=report.provenance,
        )

    return RunRecord(header)


def _check_all_completed(failed: Sequence[str], shards: int) -> None:
    if failed:
        raise RunsFailedError(f"{len(failed)} of {shards} shards did not complete: {'; '.join(failed[:5])}")


def _report_or_error(future: PrefectFuture[RunReport]) -> object:
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:  # Dask's own, such as that of a worker that was killed too often
        return error


@contextmanager
def _context_without_secrets() -> Iterator[None]:
    """What Prefect sends along with a Prefect task to another machine: not the credentials of the flow."""
    context = FlowRunContext.get()
    assert context is not None
    public = {name: value for name, value in (context.parameters or {}).items() if name != "credentials"}
    with context.model_copy(update={"parameters": public}):
        yield


def _report_of(plan: Plan, url: str, function: str) -> RunReport:
    return RunReport(
        run=str(flow_run.id),
        task_id=plan.task.id,
        task_name=plan.task.name,
        url=url,
        function=function,
        started=datetime.now(UTC),
        left_out={why.value: len(frames) for why, frames in plan.excluded.items()},
        nothing_to_do=plan.why_nothing,
    )
