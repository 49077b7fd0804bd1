"""The Prefect task that annotates one shard: some jobs of a task, on any machine."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import task
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS, shorten_errors
from prefect_cvat.tasks.run_in_slots import run_in_slots

__all__ = ["Shard", "annotate_shard"]

SECONDS_BETWEEN_CHECKS = 5.0
"""How often a shard checks whether its flow run is still running."""


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
    credentials = cast("CvatCredentials", CvatCredentials.load_from_ref(shard.credentials))
    function = CvatFunction.model_validate_json(shard.function)

    def new_run(client: Client, loaded: Any) -> AnnotateRun:
        return AnnotateRun(client, shard.task_id, loaded, shard.options, function_name=function.function)

    with (
        credentials.get_client(assume_reachable=True) as client,  # when the flow run planned the shards
        run_in_slots(client, shard.task_id, function, shard.options, new_run) as (run, _),
        ThreadSubmitter() as threads,
        _stopped_with_flow_run(run.stop),
    ):
        return run_pipeline(run, threads)


@contextmanager
def _stopped_with_flow_run(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when the current flow run is no longer running.

    A cancelled flow run ends its own process only, and the shard may run on another machine.

    Raises:
        RunStoppedError: The block was stopped; names the state of the flow run.
    """
    watch = _FlowRunWatch(UUID(str(flow_run.id)), stop)
    watch.start()
    try:
        yield
    except RunStoppedError as error:
        if watch.final_state is None:
            raise
        raise RunStoppedError(
            f"the flow run of this shard is {watch.final_state}; run it again to complete it"
        ) from error
    finally:
        watch.end()


class _FlowRunWatch:
    """Reads the state of a flow run now and then, in a thread, until it is no longer running.

    Attributes:
        final_state: The name of the state in which the flow run is no longer running.
    """

    def __init__(self, flow_run_id: UUID, stop: Callable[[], None]) -> None:
        self.final_state: str | None = None
        self._flow_run_id = flow_run_id
        self._stop = stop
        self._is_over = threading.Event()
        # Prefect keeps the address of its server in a context variable
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._watch,), name="flow run watch", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """End the thread. A request that it waits for is not waited for here."""
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.is_set():
            self.final_state = self._read_final_state()
            if self.final_state is not None:
                self._stop()
                return
            self._is_over.wait(SECONDS_BETWEEN_CHECKS)

    def _read_final_state(self) -> str | None:
        try:
            with get_client(sync_client=True) as prefect:
                state = prefect.read_flow_run(self._flow_run_id).state
        except ObjectNotFound:
            return "deleted"
        except httpx.HTTPError:  # the next check may reach the Prefect server
            return None
        return None if state is None or state.is_running() else state.name
