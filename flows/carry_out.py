"""What the flows that write to a task have in common: limits, progress, artifacts, being cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from prefect_cvat.auto_annotation.loading import find_function
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.flows.run_tags import add_tags, function_version, run_key, shard_key, task_tag
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.messages.bounded_text import bounded
from prefect_cvat.messages.plurals import counted
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Plan
from prefect_cvat.reporting.markdown_report import Outcome
from prefect_cvat.runs.left_behind import what_is_left
from prefect_cvat.runs.pipeline import run_pipeline
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.run import Run
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report
from prefect_cvat.tasks.devices import loaded_function
from prefect_cvat.tasks.policy import bounded_errors
from prefect_cvat.tasks.submitter import PrefectSubmitter
from prefect_cvat.tasks.task_slots import task_slots

__all__ = ["carry_out", "tell_what_is_there"]


@bounded_errors
def carry_out(
    credentials: CvatCredentials,
    task_id: int,
    function: CvatFunction,
    options: Options,
    new_run: Callable[[Client, Any], Run],
    *,
    kind: object = "annotate",
) -> RunReport:
    """Carry out a run as the current flow run, and show in Prefect what it does and has done.

    It waits until no other run has the task (or the jobs that it was given), for a free device, and for a
    slot of the server. When it is cancelled or fails, an artifact says what is on the server already.

    Args:
        credentials: How to log in to CVAT.
        task_id: The task.
        function: The function, and how it is used.
        options: How the run is done.
        new_run: Makes the run, once there are a client and the loaded function.
        kind: What else tells runs apart that write different things, see `run_key`.

    Raises:
        PrefectCvatError: The run failed.
    """
    logger = get_run_logger()
    find_function(function.function)  # a name that is wrong or not allowed is not worth waiting for
    function.check_secrets()
    started = time.perf_counter()
    is_one_of_many = flow_run.parent_flow_run_id is not None  # which has asked the server for the task
    with credentials.get_client(has_answered=is_one_of_many) as client:
        client.check_may_write()  # before it waits for anything
        add_tags([task_tag(client.url, task_id), function.function])
        with (
            task_slots(client.url, task_id, options.selection.jobs, tell=logger.warning),
            loaded_function(function, client.url, tell=logger.warning) as loaded,
        ):
            run = new_run(client, loaded)
            run.set_metadata(str(flow_run.id), function.function_parameters)
            version = function_version(function, loaded)

            def add_keys(plan: Plan) -> None:
                """Tag the flow run with its key as soon as it is known: other runs may wait for it."""
                media = plan.info.meta.chunks_updated_date
                key = run_key(client.url, task_id, media, version, kind, options)
                add_tags([key, shard_key(key, options.selection.jobs)])

            progress = ArtifactProgress(run.report, logger)
            try:
                report = run_pipeline(run, PrefectSubmitter(), progress, on_plan=add_keys)
            except BaseException as error:
                tell_what_is_there(run.finish_report(time.perf_counter() - started), error)
                # on another machine the next run would not know that something may yet be committed
                time.sleep(run.seconds_until_settled)
                raise
            pictures = [] if run.planned is None else draw_frames(client, run.planned.plan)
            publish_report(report, pictures=pictures)
    for line in report.lines():
        logger.info(line)
    return report


def tell_what_is_there(report: RunReport, error: BaseException) -> None:
    """Say in the log and in an artifact how a run ended that did not complete, and what it has left."""
    outcome: Outcome = "failed"
    why = bounded(str(error))
    if not isinstance(error, Exception):
        is_cancelled = _is_being_cancelled()
        outcome = "cancelled" if is_cancelled else "failed"
        why = "" if is_cancelled else "its process was told to end, or it has lost its slots to another run"
    publish_report(report, outcome=outcome, error=why)
    what = "was cancelled" if outcome == "cancelled" else "failed"
    ended = f"the run {what} after {counted(report.frames, 'frame')}"
    get_run_logger().warning("%s: %s", ended, what_is_left(report))


def _is_being_cancelled() -> bool:
    """Whether somebody has cancelled the flow run; where Prefect does not tell, nobody has."""
    try:
        with get_client(sync_client=True) as prefect:
            state = prefect.read_flow_run(flow_run.id).state
    except httpx.HTTPError:
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())
