"""What all Prefect tasks of the pipeline have in common: how they are tried again, and not cached."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from prefect_cvat.exceptions import PrefectCvatError, UnreachableError, is_transient
from prefect_cvat.messages.bounded_text import shorten_error

__all__ = ["NETWORK", "PURE", "bounded_errors"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Policy(TypedDict, total=False):
    cache_policy: CachePolicy
    persist_result: bool
    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any


async def _is_worth_a_retry(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether the network or the server failed. What a 4xx or a bad function says stays true.

    So does a wrong address: where no server has ever answered, its error is not to come four times as late.
    """
    try:
        await state.aresult()
    except Exception as error:
        return is_transient(error) and not isinstance(error, UnreachableError)
    return False


PURE: _Policy = {"cache_policy": NO_CACHE, "persist_result": False}
"""For stages that no network takes part in. Their arguments are large: Prefect must not hash them."""

NETWORK: _Policy = {
    **PURE,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_worth_a_retry,
}
"""For stages that talk to the server; on top of the retries that single requests have."""


def bounded_errors(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Shorten the errors of a function before Prefect gets them.

    Prefect writes the message of an error into a state, and the traceback with all its causes into the log.
    """

    @wraps(function)
    def bounded_function(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if shorten_error(error) is error:
                raise
            if not isinstance(error, PrefectCvatError):
                raise shorten_error(error) from None
            cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            raise error from (None if cause is None else shorten_error(cause))

    return bounded_function
