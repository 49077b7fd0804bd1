"""Carrying out many runs of a deployment, a bounded number at a time, on however many workers there are.

Each run has a key, and is known by it again: one that is going on is joined and not started twice, also by
another run of this flow; one that crashed is started again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from prefect import get_run_logger
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.flows.run_tags import last_run

__all__ = ["FanOut", "FinishedRun", "PlannedRun", "carry_out_runs"]

POLL_SECONDS = 2.0
"""How often the server is asked how the runs are."""

PATIENCE_SECONDS = 120.0
"""After how long it is said that no worker has taken up a run."""


class FanOut(BaseModel):
    """How the runs on the tasks are spread over workers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deployment: str | None = Field(
        default="annotate task/annotate-task",
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
        key: The tag that tells it from others, see `run_key`.
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
    flow_run: FlowRun
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
    active: dict[Any, _Active] = {}
    with get_client(sync_client=True) as prefect:
        while True:
            while len(active) < fan_out.runs_at_a_time and (run := next(waiting, None)) is not None:
                flow_run = _start_or_join(prefect, run, fan_out, shared)
                active[flow_run.id] = _Active(run, flow_run, 0, time.monotonic())
            if not active:
                return
            for flow_run in _read(prefect, active):
                if flow_run.state is None or not flow_run.state.is_final():
                    _tell_if_late(active[flow_run.id], flow_run)
                    continue
                ended = active.pop(flow_run.id)
                if flow_run.state.is_crashed() and ended.restarts < fan_out.restarts:
                    get_run_logger().warning("the run on %s crashed; it is started again", ended.planned.name)
                    again = _start_or_join(prefect, ended.planned, fan_out, shared)
                    active[again.id] = _Active(ended.planned, again, ended.restarts + 1, time.monotonic())
                    continue
                yield FinishedRun(ended.planned.name, flow_run.state)
            if active:
                time.sleep(POLL_SECONDS)


def _start_or_join(
    prefect: SyncPrefectClient, run: PlannedRun, fan_out: FanOut, shared: Mapping[str, Any]
) -> FlowRun:
    before, count = last_run(prefect, run.key)
    if before is not None and before.state is not None and not before.state.is_final():
        get_run_logger().info("%s is being worked on by run %s", run.name, before.name)
        return before
    assert fan_out.deployment is not None
    try:
        started = run_deployment(
            fan_out.deployment,
            parameters={**shared, **_as_json(run.parameters)},
            tags=[run.key, *run.tags],
            idempotency_key=f"{run.key}-{count}",
            timeout=0,
        )
    except ObjectNotFound:
        raise RunsFailedError(
            f"there is no deployment {fan_out.deployment!r} to start runs from; deploy it"
            " (`prefect-cvat serve`, or `prefect deploy`), or leave fan_out.deployment empty"
        ) from None
    return cast("FlowRun", started)  # no coroutine, as this is not one


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as another process is told them; of a block only where it is stored."""
    return {
        name: _block_reference(value) if isinstance(value, Block) else to_jsonable_python(value)
        for name, value in parameters.items()
    }


def _block_reference(block: Block) -> dict[str, Any]:
    if block._block_document_id is None:
        raise ValueError(
            f"the block {type(block).__name__} has not been saved, so no other run could load it; save it"
            " under a name, and load it from there"
        )
    return {"$ref": {"block_document_id": str(block._block_document_id)}}


def _read(prefect: SyncPrefectClient, active: dict[Any, _Active]) -> list[FlowRun]:
    return prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(active))), limit=len(active)
    )


def _tell_if_late(active: _Active, flow_run: FlowRun) -> None:
    """Say once that nobody has begun a run."""
    is_waiting = flow_run.state is not None and flow_run.state.is_scheduled()
    if is_waiting and time.monotonic() - active.since > PATIENCE_SECONDS:
        get_run_logger().warning(
            "nobody has taken up the run on %s for %.0f s: is a worker of its pool running, or `prefect-cvat"
            " serve`, and is its limit not used up?",
            active.planned.name,
            PATIENCE_SECONDS,
        )
        active.since = float("inf")
