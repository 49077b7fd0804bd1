"""What the flows that write to a task have in common: limits, progress, artifacts, being cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger

from prefect_cvat.auto_annotation.loading import find_function
from prefect_cvat.client import Client
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.run_tags import add_tags, function_version, run_key, task_tag
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options import Options
from prefect_cvat.pipeline import run_pipeline
from prefect_cvat.report import RunReport
from prefect_cvat.report_markdown import Outcome
from prefect_cvat.run import Run
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report
from prefect_cvat.tasks.devices import loaded_function
from prefect_cvat.tasks.limits import run_slots
from prefect_cvat.tasks.submitter import PrefectSubmitter

__all__ = ["carry_out"]


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

    It waits until no other run has the task (or the jobs that it was given), for a slot of the server, and
    for a free device. When it is cancelled or fails, an artifact says what is on the server already.

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
    started = time.perf_counter()
    with credentials.get_client() as client:
        add_tags([task_tag(client.url, task_id), function.function])
        with run_slots(client.url, task_id, options.selection.jobs), loaded_function(function) as loaded:
            run = new_run(client, loaded)
            try:
                report = run_pipeline(run, PrefectSubmitter(), ArtifactProgress(run.report, logger))
            except BaseException as error:
                partial = run.complete(time.perf_counter() - started)
                outcome: Outcome = "failed" if isinstance(error, Exception) else "cancelled"
                publish_report(partial, outcome=outcome, error=str(error))
                logger.warning("%s", _what_is_there(partial, outcome))
                raise
            media = run.plan.info.meta.chunks_updated_date
            version = function_version(function, loaded)
            add_tags([run_key(client.url, task_id, media, version, kind, options)])
            publish_report(report, pictures=draw_frames(client, run.plan))
    for line in report.lines():
        logger.info(line)
    logger.info("report %s", report.model_dump_json())
    return report


def _what_is_there(report: RunReport, outcome: Outcome) -> str:
    ended = f"the run {'was cancelled' if outcome == 'cancelled' else 'failed'} after {report.frames} frames"
    if not report.added:
        return f"{ended}: it has left nothing in task {report.task_id}"
    return (
        f"{ended}: {report.added} annotations that it has added are in task {report.task_id};"
        " running it again completes it, and adds nothing twice"
    )
