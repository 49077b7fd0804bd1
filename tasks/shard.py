"""The Prefect task that annotates some jobs of a task, all stages of it, wherever it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import httpx
from prefect import task
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.report import RunReport
from prefect_cvat.tasks.devices import loaded_function
from prefect_cvat.tasks.policy import NETWORK, bounded_errors
from prefect_cvat.tasks.task_slots import task_slots

__all__ = ["Shard", "annotate_shard"]

SECONDS_BETWEEN_LOOKS = 5.0
"""How often a shard looks, at the most, whether its flow run is to go on."""


@dataclass(frozen=True)
class Shard:
    """A piece of a task, and how it is annotated. Small and without secrets: it goes to another machine.

    Attributes:
        task_id: The task.
        credentials: The id of the document in which Prefect keeps the block of credentials.
        function: The fields of a `CvatFunction`, as JSON.
        options: How the run is done; its selection names the jobs.
    """

    task_id: int
    credentials: str
    function: str
    options: Options

    def __str__(self) -> str:
        jobs = sorted(self.options.selection.jobs or ())
        return f"task {self.task_id}, jobs {jobs[0]}-{jobs[-1]}"


@task(name="annotate shard", task_run_name="annotate {shard}", **NETWORK)
@bounded_errors
def annotate_shard(shard: Shard) -> RunReport:
    """Fetch, detect and upload the frames of some jobs; only the report comes back.

    It stops after a batch when its flow run has been cancelled or has died: no one else could tell it,
    on another machine.
    """
    credentials = cast("CvatCredentials", CvatCredentials.load_from_ref(shard.credentials))
    function = CvatFunction.model_validate_json(shard.function)
    with (
        credentials.get_client(has_answered=True) as client,  # it has, when the shard was planned
        task_slots(client.url, shard.task_id, shard.options.selection.jobs),
        loaded_function(function, client.url) as loaded,
        ThreadSubmitter() as threads,
    ):
        run = AnnotateRun(client, shard.task_id, loaded, shard.options, function_name=function.function)
        run.set_metadata(str(flow_run.id), function.function_parameters)
        return run_pipeline(run, threads, _StopWithFlowRun())


class _StopWithFlowRun:
    """Progress that ends the run when its flow run is not going on any more."""

    def __init__(self) -> None:
        self._next_look = 0.0

    def start(self, total: int) -> None:  # noqa: ARG002 (the protocol has it)
        self._look()

    def advance(self, frames: int) -> None:  # noqa: ARG002
        if time.monotonic() >= self._next_look:
            self._look()

    def finish(self) -> None:
        pass

    def _look(self) -> None:
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        try:
            with get_client(sync_client=True) as prefect:
                state = prefect.read_flow_run(flow_run.id).state
        except httpx.HTTPError:  # a Prefect server that is away says nothing
            return
        if state is not None and not state.is_running():
            raise RunStoppedError(f"the flow run of this shard is {state.name}; run it again to complete it")
