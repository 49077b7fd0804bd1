"""The flow that annotates one large task in shards, each a Prefect task, also on a cluster of Dask or Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.flows.fan_out import block_document_id
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_keys import (
    add_tags,
    key_tag,
    load_function_key,
    run_key,
    settings_tag,
    task_tag,
)
from prefect_cvat.flows.form_titles_and_choices import DetectionFunctionName, form
from prefect_cvat.flows.function_choice import DETECTION_FUNCTION, TaskId, choose_function, name_run
from prefect_cvat.flows.run_on_task import report_failure
from prefect_cvat.flows.shard_runners import shard_task_runner
from prefect_cvat.frames import Quality
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionSettings, ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.planning.annotated_frames import exclude_annotated
from prefect_cvat.planning.plan import Plan, make_plan, read_task
from prefect_cvat.records.record_writer import RecordHeader, RunRecord
from prefect_cvat.rendering.run_page import write_run_page
from prefect_cvat.rendering.run_report_markdown import escape, task_link
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.runs.review_issues import open_issues
from prefect_cvat.runs.shards import make_shards, merge_reports
from prefect_cvat.settings import Settings
from prefect_cvat.tasks.annotate_shard import Shard, annotate_shard, credentials_known
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report
from prefect_cvat.tasks.client_retries import ask_busy_server_again_soon
from prefect_cvat.tasks.prefect_task_options import shorten_errors
from prefect_cvat.tasks.review_page import publish_page
from prefect_cvat.tasks.wait_for_task import task_slots

__all__ = ["annotate_shards"]


@flow(
    name="annotate shards",
    flow_run_name=name_run,
    task_runner=shard_task_runner(Settings().cluster),
    persist_result=False,
    retries=0,
)
@form
def annotate_shards(
    task_id: TaskId,
    credentials: CvatCredentials,
    shard_frames: Annotated[int, Field(ge=1)] = 1000,
    function: DetectionFunctionName = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    labels: LabelOptions = LabelOptions(),
    existing_annotations: ExistingOptions = ExistingOptions(),
    frames: FrameOptions = FrameOptions(),
    review: ReviewOptions = ReviewOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
) -> RunReport:
    """Annotate a large CVAT task in pieces of whole jobs, each a Prefect task that may run anywhere.

    Frames to review, and to open issues on, are ranked over the whole task. Whether a label is rare, one of
    the reasons, is determined within each shard.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT; saved, as each piece loads it for itself.
        shard_frames: About how many frames a piece has; a job is never split.
        function: A built-in function or a registered one; or a module that the worker allows.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        labels: Which labels of the function are written, and from which confidence on.
        existing_annotations: What is done with existing annotations.
        frames: Which frames and jobs, and which images of them.
        review: Which frames are proposed for review.
        annotations: What the annotations are like that are written.
        execution: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    chosen = choose_function(function_block, function, function_parameters, execution, labels, annotations)
    document = block_document_id(credentials)
    options = Options.of_form(chosen, existing_annotations, frames, execution, review)
    with get_client(sync_client=True) as prefect:
        ask_busy_server_again_soon(prefect)
    with named_as_in_form(), credentials.get_client() as client:
        client.check_may_write()
        version, is_for_task = load_function_key(chosen, client.url)
        plan = make_plan(read_task(client, task_id, options.selection), options.selection)
        if options.selection.unannotated:
            plan = exclude_annotated(client, plan)
        media = plan.info.meta.chunks_updated_date
        made_for = plan.info.labels if is_for_task else ()
        key = run_key(client.url, task_id, media, version, "annotate", options, made_for)
        settings = settings_tag(client.url, version, "annotate", options)
        add_tags([task_tag(client.url, task_id), chosen.function, key_tag(chosen.function, key), settings])
        shards = [
            Shard(
                task_id,
                document,
                chosen.as_json(),
                _options_of_shard(options, jobs),
            )
            for jobs in make_shards(plan, options.selection.jobs, shard_frames)
        ]
        empty_report = _empty_report(plan, plan.info.page(client.url), chosen.function)
        with (
            task_slots(client.url, task_id, jobs=(), warn=get_run_logger().warning),
            credentials_known(document, credentials),
        ):
            report = _run_shards(shards, empty_report, client, plan, options)
        publish_report(report, pictures=draw_frames(client, plan))
        _publish_page(client, plan, report, options.quality)
    return completed(report, report.headline)


def _publish_page(client: Client, plan: Plan, report: RunReport, quality: Quality) -> None:
    """Publish the page to review the frames, if a folder for pages is set."""

    def write(file: Path, max_frames: int) -> None:
        write_run_page(client, plan, report, report.review, file, max_frames=max_frames, quality=quality)

    publish_page(report.task_id, f"{task_link(report)}: {escape(report.headline)}", write)


def _options_of_shard(options: Options, jobs: tuple[int, ...]) -> Options:
    """The options of the run on a shard. It ranks frames, but issues are opened once, for the whole task."""
    return options.changed(jobs=jobs, review_frames=options.frames_to_rank, open_issues=0)


@shorten_errors
def _run_shards(
    shards: Sequence[Shard], empty_report: RunReport, client: Client, plan: Plan, options: Options
) -> RunReport:
    """Run the shards, merge their reports, and open issues on the frames of the task to review first.

    Raises:
        RunsFailedError: Some shards did not complete.
    """
    started = time.perf_counter()
    progress = ArtifactProgress(empty_report, get_run_logger())
    progress.start(len(plan.frames))
    reports: list[RunReport] = []
    failed: list[str] = []
    try:
        with _credentials_not_sent():
            futures = [annotate_shard.submit(shard) for shard in shards]
        for future in as_completed(futures):
            report = _report_or_error(future)
            if isinstance(report, RunReport):
                reports.append(report)
                progress.advance(report.frames)
            else:
                failed.append(str(report).partition("\n")[0] or type(report).__name__)
        _check_all_completed(failed, len(shards))
        merged = merge_reports(empty_report, reports, options.frames_to_rank)
        if options.open_issues:
            reviews = merged.review[: options.open_issues]
            open_issues(client, reviews, plan.info, _record_of(merged, client.url, plan), merged)
    except BaseException as error:
        merged = merge_reports(empty_report, reports, options.review_frames)
        merged.seconds = time.perf_counter() - started
        report_failure(merged, error)
        raise
    finally:
        progress.finish()
    merged.review = merged.review[: options.review_frames]
    merged.seconds = time.perf_counter() - started
    return merged


def _record_of(report: RunReport, server: str, plan: Plan) -> RunRecord:
    """The record of the issues that the flow run opens. Each shard records its annotations itself."""

    def header() -> RecordHeader:
        assert report.provenance is not None, "merge_reports takes it from a shard"
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
    except Exception as error:  # such as Dask's KilledWorker
        return error


@contextmanager
def _credentials_not_sent() -> Iterator[None]:
    """Leave the credentials out of the flow's parameters, which Prefect sends along with a Prefect task."""
    context = FlowRunContext.get()
    assert context is not None
    public = {name: value for name, value in (context.parameters or {}).items() if name != "credentials"}
    with context.model_copy(update={"parameters": public}):
        yield


def _empty_report(plan: Plan, url: str, function: str) -> RunReport:
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
