"""Starts many runs of a deployment, some at a time, and waits for them.

Each run has a key (`flow_run_keys.py`). A run that is already running under this key is waited for instead of
started a second time, even if another flow run has started it. A run that has crashed is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling, Crashed
from pydantic import Field
from pydantic_core import to_jsonable_python

from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.flows.final_state import is_cancelled
from prefect_cvat.flows.flow_run_keys import last_run, shard_key
from prefect_cvat.options.option_base import OptionModel

__all__ = ["ANNOTATE_TASK", "FanOut", "FinishedRun", "PlannedRun", "block_document_id", "run_all"]

ANNOTATE_TASK = "annotate task/annotate-task"
"""The full name of the deployment that annotates one task."""

POLL_SECONDS = 2.0
"""How often the states of the runs are read."""

PICKUP_WARNING_SECONDS = 120.0
"""After this time in the queue a warning is logged that no worker has picked up a run."""

START_TIMEOUT_SECONDS = 600.0
"""A run that a worker has picked up must start within this time; its process imports torch first."""


class FanOut(OptionModel):
    """How the runs on the tasks of a project are distributed over workers."""

    deployment: str | None = Field(
        default=ANNOTATE_TASK,
        description=(
            "The deployment of the runs on the tasks, executed by any worker; empty runs them one after the"
            " other in this process."
        ),
    )
    runs_at_a_time: int = Field(default=4, ge=1, le=200, description="The maximum number of runs at a time.")
    shard_frames: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Tasks with more frames than this are split by their jobs into runs of about this many frames;"
            " empty splits no task."
        ),
    )
    restarts: int = Field(default=2, ge=0, le=10, description="How often a crashed run is started again.")


@dataclass(frozen=True)
class PlannedRun:
    """A run to start.

    Attributes:
        task_id: The task.
        name: The task, and its jobs if they are selected, such as `task 42`.
        key_tag: The tag of runs with its key.
        jobs: The jobs that it writes to; None for all.
        tags: Further tags.
        parameters: The parameters of this run alone.
        is_repeated: Whether the run is wanted even if one with the same key has completed.
    """

    task_id: int
    name: str
    key_tag: str
    jobs: tuple[int, ...] | None
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    is_repeated: bool = False


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        planned: The planned run.
        state: Its final state.
        id: The id of the flow run.
        was_done: Whether it had completed before this one would have been started.
    """

    planned: PlannedRun
    state: State[Any]
    id: UUID | None
    was_done: bool = False


@dataclass
class _Active:
    planned: PlannedRun
    flow_run: FlowRun
    is_own: bool
    restarts: int = 0
    since: float = field(default_factory=time.monotonic)
    pending_since: float | None = None
    """Since when it is seen as picked up but not started, by this process: other clocks may differ."""

    @property
    def was_done(self) -> bool:
        """Whether another flow run has completed it meanwhile."""
        state = self.flow_run.state
        return not self.is_own and state is not None and state.is_completed()


def run_all(
    planned: Iterable[PlannedRun],
    fan_out: FanOut,
    shared: Mapping[str, Any],
    on_cancelled: Callable[[FinishedRun], object],
) -> Generator[FinishedRun, None, None]:
    """Start runs of a deployment, at most `fan_out.runs_at_a_time` at a time; yield each when it has ended.

    If the current flow run is cancelled, the runs that it has started are cancelled, too.

    Args:
        planned: The runs; read one by one, when the next one can start.
        fan_out: The deployment, and how many runs to start at a time.
        shared: The parameters of all runs. Blocks among them must be saved.
        on_cancelled: Called with each run that is cancelled because the current flow run is.

    Raises:
        RunsFailedError: The deployment does not exist, or is not of the flow `annotate task`.
        ValueError: A block is not saved.
    """
    active: dict[UUID, _Active] = {}
    with get_client(sync_client=True) as prefect:
        try:
            yield from _run_all(prefect, iter(planned), fan_out, _as_json(shared), active)
        except Exception:  # the runs go on, and the next run on the project waits for them
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or is_cancelled(prefect):
                for run in active.values():
                    if run.is_own:
                        on_cancelled(_cancel(prefect, run))
            raise


def _run_all(
    prefect: SyncPrefectClient,
    waiting: Iterator[PlannedRun],
    fan_out: FanOut,
    shared: Mapping[str, Any],
    active: dict[UUID, _Active],
) -> Iterator[FinishedRun]:
    """See `run_all`; `active` always holds the runs that have not ended."""
    while True:
        while len(active) < fan_out.runs_at_a_time and (planned := next(waiting, None)) is not None:
            run = _start_or_join(prefect, planned, fan_out, shared)
            if run.was_done and run.flow_run.state is not None:
                yield FinishedRun(planned, run.flow_run.state, run.flow_run.id, was_done=True)
            else:
                active[run.flow_run.id] = run
        if not active:
            return
        for flow_run_id, now in _read(prefect, active).items():
            each = active[flow_run_id]
            state = _state_of(prefect, each, now)
            if not state.is_final():
                continue
            if state.is_crashed() and each.restarts < fan_out.restarts:
                get_run_logger().warning("the run on %s has crashed; starting it again", each.planned.name)
                again = _start_or_join(prefect, each.planned, fan_out, shared)
                again.restarts = each.restarts + 1
                del active[flow_run_id]
                active[again.flow_run.id] = again
                continue
            del active[flow_run_id]
            yield FinishedRun(each.planned, state, flow_run_id)
        if active:
            time.sleep(POLL_SECONDS)


def block_document_id(block: Block) -> str:
    """The id of a block's document, with which another machine can load the block.

    Raises:
        ValueError: The block is not saved.
    """
    if block._block_document_id is None:
        raise ValueError(
            f"the block {type(block).__name__} has not been saved, so other runs cannot load it; save it"
            " under a name, and pass the block that `load` returns"
        )
    return str(block._block_document_id)


def _start_or_join(
    prefect: SyncPrefectClient, run: PlannedRun, fan_out: FanOut, shared: Mapping[str, Any]
) -> _Active:
    before = last_run(prefect, run.key_tag, run.jobs)
    if before and before.state and before.state.is_completed() and not run.is_repeated:
        return _Active(run, before, is_own=False)  # it has completed since the history was read
    # a run without a deployment was started from Python, and may be dead; if it is not, the slots of the task
    # make the new run wait for it
    is_on_a_worker = before is not None and before.deployment_id is not None
    if is_on_a_worker and before and before.state and not before.state.is_final():
        get_run_logger().info("run %s is already running on %s; waiting for it", before.name, run.name)
        return _Active(run, before, is_own=False)
    assert fan_out.deployment is not None
    try:
        started = run_deployment(
            fan_out.deployment,
            parameters={**shared, **_as_json(run.parameters)},
            tags=[run.key_tag, *run.tags],
            idempotency_key=f"{shard_key(run.key_tag, run.jobs)}-{before.id if before else 'first'}",
            timeout=0,
        )
    except PrefectHTTPStatusError as error:
        raise RunsFailedError(
            f"the deployment {fan_out.deployment!r} does not accept the parameters of the flow"
            f" `annotate task`; set fan_out.deployment to one that does ({error.response.text[:300]})"
        ) from None
    except ObjectNotFound:
        raise RunsFailedError(
            f"there is no deployment {fan_out.deployment!r} to start runs from; deploy it"
            " (`prefect-cvat serve`, or `prefect deploy`), or leave fan_out.deployment empty"
        ) from None
    # not a coroutine, since this function is not async
    return _Active(run, cast("FlowRun", started), is_own=True)


def _cancel(prefect: SyncPrefectClient, run: _Active) -> FinishedRun:
    get_run_logger().info("cancelling the run on %s", run.planned.name)
    state: State[Any] = Cancelling(message="cancelled with the run on the project that had started it")
    prefect.set_flow_run_state(run.flow_run.id, state)
    return FinishedRun(run.planned, state, run.flow_run.id)


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON, with a reference in place of each block."""
    return {
        name: {"$ref": {"block_document_id": block_document_id(value)}}
        if isinstance(value, Block)
        else to_jsonable_python(value)
        for name, value in parameters.items()
    }


def _read(prefect: SyncPrefectClient, active: dict[UUID, _Active]) -> dict[UUID, FlowRun | None]:
    """The runs by id; None for a run that was deleted."""
    found = prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(active))), limit=len(active)
    )
    return dict.fromkeys(active) | {run.id: run for run in found}


def _state_of(prefect: SyncPrefectClient, run: _Active, flow_run: FlowRun | None) -> State[Any]:
    """The state of a run; a run that can no longer end by itself gets a final state."""
    if flow_run is None or flow_run.state is None:
        return Cancelled(message="the run was deleted")
    state, waited = flow_run.state, time.monotonic() - run.since
    if state.is_scheduled() and waited > PICKUP_WARNING_SECONDS:
        get_run_logger().warning(
            "no worker has picked up the run on %s for %.0f s; start `prefect-cvat serve` or a worker of its"
            " work pool, or raise its limit of runs",
            run.planned.name,
            waited,
        )
        run.since = float("inf")  # warn once
    if not state.is_pending():
        run.pending_since = None
    elif run.pending_since is None:
        run.pending_since = time.monotonic()
    elif time.monotonic() - run.pending_since > START_TIMEOUT_SECONDS:
        # a run that has not started sends no heartbeat, so the automation for crashed runs misses it
        dead: State[Any] = Crashed(
            message="A worker has picked up the run, but it has not started: its process has died."
        )
        prefect.set_flow_run_state(flow_run.id, dead, force=True)
        return dead
    return state
