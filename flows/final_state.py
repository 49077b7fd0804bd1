"""The message of a flow run's final state, which Prefect's list of runs shows."""

from __future__ import annotations

from typing import TypeVar, cast

from prefect.states import Completed

__all__ = ["completed"]

Result = TypeVar("Result")


def completed(result: Result, message: str) -> Result:
    """What a flow returns to end with a message, such as `1,204 added on 310 frames, 3 to look at`.

    Prefect uses a state that a flow returns as its final state, and gives the caller of the flow its data. So
    the type for callers is that of the result.
    """
    return cast("Result", Completed(message=message, data=result))
