"""Runs a function on one task as the current flow run: what the flows annotate, track and refine share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas import OrchestrationResult
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Cancelled

from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.loading import find_function
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.flows.final_state import completed, is_cancelled
from prefect_cvat.flows.flow_run_keys import (
    add_tags,
    function_key,
    key_tag,
    run_key,
    settings_tag,
    task_tag,
)
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.messages.bounded_text import shorten
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.metrics import add_counts
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.planning.plan import Plan
from prefect_cvat.rendering.run_page import write_run_page
from prefect_cvat.rendering.run_report_markdown import Outcome, escape, task_link
from prefect_cvat.runs.execution.pipeline import run_pipeline
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.reports.failed_run import describe_remaining
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report
from prefect_cvat.tasks.client_retries import ask_busy_server_again_soon
from prefect_cvat.tasks.prefect_task_options import shorten_errors
from prefect_cvat.tasks.review_page import publish_page
from prefect_cvat.tasks.run_in_slots import run_in_slots
from prefect_cvat.tasks.stages import PrefectSubmitter

__all__ = ["report_failure", "run_on_task"]


@shorten_errors
def run_on_task(
    credentials: CvatCredentials,
    task_id: int,
    function: CvatFunction,
    options: Options,
    new_run: Callable[[Client, Any], Run],
    *,
    kind: object = "annotate",
) -> RunReport:
    """Run a function on a task as the current flow run, with tags, progress and artifacts in Prefect.

    It waits for its slots, see `run_in_slots`. A run that fails or is cancelled publishes a report of what is
    in CVAT.

    Args:
        credentials: How to log in to CVAT.
        task_id: The task.
        function: The function and its settings.
        options: The options of the run.
        new_run: Makes the run from a client and the loaded function.
        kind: The kind of the run and its own options, part of the run key; see `run_key`.

    Raises:
        PrefectCvatError: The run failed.
    """
    logger = get_run_logger()
    # these fail at once, before the run waits for any slot
    find_function(function.function)
    function.check_secrets()
    started = time.perf_counter()
    with get_client(sync_client=True) as prefect:
        ask_busy_server_again_soon(prefect)
    is_child_run = flow_run.parent_flow_run_id is not None  # its parent has reached the CVAT server already
    with named_as_in_form(), credentials.get_client(assume_reachable=is_child_run) as client:
        client.check_may_write()
        add_tags([task_tag(client.url, task_id), function.function])
        with run_in_slots(client, task_id, function, options, new_run, warn=logger.warning) as (run, loaded):
            version = function_key(function, loaded)

            def add_key_tag(plan: Plan) -> None:
                """Tag the flow run with its key early, as other runs look for runs of the same key."""
                media = plan.info.meta.chunks_updated_date
                made_for = plan.info.labels if isinstance(loaded, FunctionForTask) else ()
                key = run_key(client.url, task_id, media, version, kind, options, made_for)
                settings = settings_tag(client.url, version, kind, options)
                add_tags([key_tag(function.function, key), settings])

            with _failure_reported(run, started):
                report = run_pipeline(
                    run, PrefectSubmitter(), ArtifactProgress(run.report, logger), on_planned=add_key_tag
                )
            pictures = [] if run.planned is None else draw_frames(client, run.planned.plan)
            publish_report(report, pictures=pictures)
            _publish_page(client, run, report)
    for line in report.lines():
        logger.info(line)
    add_counts({("prefect_cvat_runs", "completed"): 1})
    return completed(report, report.headline)


def _publish_page(client: Client, run: Run, report: RunReport) -> None:
    """Publish the page to review the frames, if a folder for pages is set."""
    if (planned := run.planned) is None:
        return

    def write(file: Path, max_frames: int) -> None:
        ranked = planned.rank_frames(max_frames)
        write_run_page(
            client, planned.plan, report, ranked, file, max_frames=max_frames, quality=run.options.quality
        )

    publish_page(report.task_id, f"{task_link(report)}: {escape(report.headline)}", write)


@contextmanager
def _failure_reported(run: Run, started: float) -> Iterator[None]:
    """Publish the report of a run that fails or is cancelled, before its slots are free again."""
    try:
        yield
    except BaseException as error:
        report_failure(run.finish_report(time.perf_counter() - started), error)
        # the server may still commit a write; the next run, on another machine, cannot know that
        time.sleep(run.seconds_until_settled)
        raise


def report_failure(report: RunReport, error: BaseException) -> None:
    """Publish the report of a run that failed or was cancelled, and log what it has left in CVAT."""
    outcome: Outcome = "failed"
    reason = shorten(str(error))
    if not isinstance(error, Exception):
        is_cancelled = _is_flow_run_cancelled()
        outcome = "cancelled" if is_cancelled else "failed"
        reason = "" if is_cancelled else "its process was terminated, or another run has taken its slots"
    add_counts({("prefect_cvat_runs", outcome): 1})
    publish_report(report, outcome=outcome, error=reason)
    ending = "was cancelled" if outcome == "cancelled" else "failed"
    message = f"the run {ending} after {pluralize(report.frames, 'frame')}: {describe_remaining(report)}"
    get_run_logger().warning("%s", message)
    if outcome == "cancelled":
        _end_as_cancelled(message)


def _end_as_cancelled(message: str) -> None:
    """Set the final state of the current flow run. Prefect's runner does that again, some seconds later."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    with suppress(httpx.HTTPError), get_client(sync_client=True) as prefect:
        answer: OrchestrationResult[Any] = prefect.set_flow_run_state(
            context.flow_run.id, Cancelled(message=message)
        )
        context.flow_run.state = answer.state  # Prefect logs it at the end


def _is_flow_run_cancelled() -> bool:
    """Whether the current flow run was cancelled; False if the Prefect server does not answer."""
    try:
        with get_client(sync_client=True) as prefect:
            return is_cancelled(prefect)
    except httpx.HTTPError:
        return False
