"""The Prefect task that annotates one shard: some jobs of a task, on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from prefect import get_run_logger, task

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks.flow_run_watch import raise_if_stopped, stopped_with_flow_run
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS, shorten_errors
from prefect_cvat.tasks.run_in_slots import run_in_slots

__all__ = ["Shard", "annotate_shard", "credentials_known"]

_known_credentials: dict[str, CvatCredentials] = {}
"""The credentials of the flow runs of this process, by the ids of their block documents."""


@dataclass(frozen=True)
class Shard:
    """Some jobs of a task, and how to annotate them. Small and without secrets: it is sent to other machines.

    Attributes:
        task_id: The task.
        credentials: The id of the block document with the credentials.
        function: The fields of a `CvatFunction`, as JSON.
        options: The options of the run; its selection names the jobs.
    """

    task_id: int
    credentials: str
    function: str
    options: Options

    def __str__(self) -> str:
        jobs = sorted(self.options.selection.jobs or ())
        return f"task {self.task_id}, jobs {jobs[0]}-{jobs[-1]}"


@task(name="annotate shard", task_run_name="annotate {shard}", **RETRY_NETWORK_ERRORS)
@shorten_errors
def annotate_shard(shard: Shard) -> RunReport:
    """Fetch, detect and upload the frames of some jobs; only the report is sent back.

    Raises:
        RunStoppedError: The flow run was cancelled, has crashed, or was deleted.
    """
    credentials = _load_credentials(shard.credentials)
    function = CvatFunction.model_validate_json(shard.function)

    runs: list[AnnotateRun] = []

    def new_run(client: Client, loaded: Any) -> AnnotateRun:
        run = AnnotateRun(client, shard.task_id, loaded, shard.options, function_name=function.function)
        runs.append(run)
        return run

    def stop() -> None:
        for run in runs:
            run.stop()

    with (
        stopped_with_flow_run(stop),
        credentials.get_client(assume_reachable=True) as client,  # when the flow run planned the shards
        run_in_slots(
            client,
            shard.task_id,
            function,
            shard.options,
            new_run,
            is_shard=True,
            warn=get_run_logger().warning,
        ) as (run, _),
        ThreadSubmitter() as threads,
    ):
        raise_if_stopped()  # before there was a run
        return run_pipeline(run, threads)


@contextmanager
def credentials_known(document: str, credentials: CvatCredentials) -> Iterator[None]:
    """Let shards in this process use the credentials of their flow run, rather than each load them."""
    _known_credentials[document] = credentials
    try:
        yield
    finally:
        _known_credentials.pop(document, None)


def _load_credentials(document: str) -> CvatCredentials:
    known = _known_credentials.get(document)
    return known or cast("CvatCredentials", CvatCredentials.load_from_ref(document))
