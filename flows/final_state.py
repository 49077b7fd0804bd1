"""The state of a flow run: the message of its final state, and whether it is cancelled."""

from __future__ import annotations

from typing import TypeVar, cast

from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run
from prefect.states import Completed

__all__ = ["completed", "is_cancelled"]

Result = TypeVar("Result")


def completed(result: Result, message: str) -> Result:
    """What a flow returns to end with a message, such as `1,204 added on 310 frames, 3 to look at`.

    Prefect uses a state that a flow returns as its final state, and gives the caller of the flow its data. So
    the type for callers is that of the result.
    """
    return cast("Result", Completed(message=message, data=result))


def is_cancelled(prefect: SyncPrefectClient) -> bool:
    """Whether the current flow run is cancelled; otherwise its process was ended for another reason."""
    state = prefect.read_flow_run(flow_run.id).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())
