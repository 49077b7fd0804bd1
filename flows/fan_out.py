"""Carrying out many runs of a deployment, a bounded number at a time, on however many workers there are.

Each run has a key, and is known by it again: one that is going on is joined and not started twice, also by
another run of this flow; one that crashed is started again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Crashed
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.flows.run_tags import last_run

__all__ = ["ANNOTATE_TASK", "FanOut", "FinishedRun", "PlannedRun", "block_document_id", "carry_out_runs"]

ANNOTATE_TASK = "annotate task/annotate-task"
"""The full name of the deployment that annotates one task."""

POLL_SECONDS = 2.0
"""How often the server is asked how the runs are."""

PATIENCE_SECONDS = 120.0
"""After how long it is said that no worker has taken up a run."""

START_PATIENCE = timedelta(minutes=10)
"""How long a run that was taken up may take to begin: its process must import all that it needs."""


class FanOut(BaseModel):
    """How the runs on the tasks are spread over workers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deployment: str | None = Field(
        default=ANNOTATE_TASK,
        description=(
            "The deployment that the run on each task is started from, on any worker; empty carries them out"
            " in this run, one after the other."
        ),
    )
    runs_at_a_time: int = Field(default=4, ge=1, le=200, description="How many of them go on at a time.")
    shard_frames: int | None = Field(
        default=None,
        ge=1,
        description=(
            "A task with more frames than this is split by its jobs into several runs of about so many; empty"
            " splits none."
        ),
    )
    restarts: int = Field(
        default=2, ge=0, le=10, description="How often a run that crashed, with its worker, is started again."
    )


@dataclass(frozen=True)
class PlannedRun:
    """A run that is to be carried out.

    Attributes:
        name: What it is about, such as `task 42`.
        key: The tag that tells it from others, see `shard_key`.
        tags: Further tags of it.
        parameters: What it is given that others are not.
    """

    name: str
    key: str
    tags: tuple[str, ...]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """A run that has come to its end.

    Attributes:
        name: What it is about.
        state: How it ended.
    """

    name: str
    state: State[Any]


@dataclass
class _Active:
    planned: PlannedRun
    restarts: int
    since: float


def carry_out_runs(
    planned: Iterable[PlannedRun], fan_out: FanOut, shared: Mapping[str, Any]
) -> Iterator[FinishedRun]:
    """Start runs of a deployment, and wait for them; yield each when it has ended.

    Args:
        planned: The runs; taken one by one, as there is room.
        fan_out: How they are spread. It names a deployment.
        shared: The parameters that all of them are given. Blocks must have been saved.

    Raises:
        RunsFailedError: There is no such deployment.
        ValueError: A block has not been saved.
    """
    waiting = iter(planned)
    shared = _as_json(shared)
    active: dict[UUID, _Active] = {}
    with get_client(sync_client=True) as prefect:
        while True:
            while len(active) < fan_out.runs_at_a_time and (run := next(waiting, None)) is not None:
                flow_run = _start_or_join(prefect, run, fan_out, shared)
                active[flow_run.id] = _Active(run, 0, time.monotonic())
            if not active:
                return
            for flow_run_id, now in _read(prefect, active).items():
                followed = active[flow_run_id]
                state = _state_of(prefect, followed, now)
                if not state.is_final():
                    continue
                del active[flow_run_id]
                planned_run = followed.planned
                if state.is_crashed() and followed.restarts < fan_out.restarts:
                    get_run_logger().warning("the run on %s crashed; it is started again", planned_run.name)
                    again = _start_or_join(prefect, planned_run, fan_out, shared)
                    active[again.id] = _Active(planned_run, followed.restarts + 1, time.monotonic())
                    continue
                yield FinishedRun(planned_run.name, state)
            if active:
                time.sleep(POLL_SECONDS)


def block_document_id(block: Block) -> str:
    """Where Prefect keeps a block: all that another machine needs to be told of it.

    Raises:
        ValueError: It has not been saved.
    """
    if block._block_document_id is None:
        raise ValueError(
            f"the block {type(block).__name__} has not been saved, so no other run could load it; save it"
            " under a name, and load it from there"
        )
    return str(block._block_document_id)


def _start_or_join(
    prefect: SyncPrefectClient, run: PlannedRun, fan_out: FanOut, shared: Mapping[str, Any]
) -> FlowRun:
    before = last_run(prefect, run.key)
    # one that a person's own process carries out is waited for by the slots of the task, if it is alive
    is_on_a_worker = before is not None and before.deployment_id is not None
    if is_on_a_worker and before and before.state and not before.state.is_final():
        get_run_logger().info("%s is being worked on by run %s", run.name, before.name)
        return before
    assert fan_out.deployment is not None
    try:
        started = run_deployment(
            fan_out.deployment,
            parameters={**shared, **_as_json(run.parameters)},
            tags=[run.key, *run.tags],
            idempotency_key=f"{run.key}-{before.id if before else 'first'}",
            timeout=0,
        )
    except PrefectHTTPStatusError as error:
        raise RunsFailedError(
            f"the deployment {fan_out.deployment!r} is none of the flow `annotate task`, as it does not take"
            f" its parameters; correct fan_out.deployment ({error.response.text[:300]})"
        ) from None
    except ObjectNotFound:
        raise RunsFailedError(
            f"there is no deployment {fan_out.deployment!r} to start runs from; deploy it"
            " (`prefect-cvat serve`, or `prefect deploy`), or leave fan_out.deployment empty"
        ) from None
    return cast("FlowRun", started)  # no coroutine, as this is not one


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as another process is told them; of a block only where it is stored."""
    return {
        name: {"$ref": {"block_document_id": block_document_id(value)}}
        if isinstance(value, Block)
        else to_jsonable_python(value)
        for name, value in parameters.items()
    }


def _read(prefect: SyncPrefectClient, active: dict[UUID, _Active]) -> dict[UUID, FlowRun | None]:
    """The runs as they are now; None for one that there is no more."""
    found = prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(active))), limit=len(active)
    )
    return dict.fromkeys(active) | {run.id: run for run in found}


def _state_of(prefect: SyncPrefectClient, run: _Active, flow_run: FlowRun | None) -> State[Any]:
    """How a run is; what nobody will bring to an end is brought to it."""
    if flow_run is None or flow_run.state is None:
        return Cancelled(message="somebody has deleted the run")
    state, waited = flow_run.state, time.monotonic() - run.since
    if state.is_scheduled() and waited > PATIENCE_SECONDS:
        get_run_logger().warning(
            "nobody has taken up the run on %s for %.0f s: is a worker of its pool running, or `prefect-cvat"
            " serve`, and is its limit not used up?",
            run.planned.name,
            waited,
        )
        run.since = float("inf")  # said once
    if state.is_pending() and datetime.now(UTC) - state.timestamp > START_PATIENCE:
        # no heartbeat has begun yet that could stop
        dead: State[Any] = Crashed(message="The run was taken up, and never began: its process has died.")
        prefect.set_flow_run_state(flow_run.id, dead, force=True)
        return dead
    return state
