"""The options that all Prefect tasks share: retries, no caching, and short error messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from prefect_cvat.exceptions import PrefectCvatError, UnreachableError, is_transient
from prefect_cvat.messages.bounded_text import shorten_error

__all__ = ["NO_RETRIES", "RETRY_NETWORK_ERRORS", "shorten_errors"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _TaskOptions(TypedDict, total=False):
    cache_policy: CachePolicy
    persist_result: bool
    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any


async def _is_network_error(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether the network or the server failed, so that a retry may help.

    A retry does not help against a 4xx answer, an error of the function, or a server that has never
    answered: its address is probably wrong, and four attempts would only delay that message.
    """
    try:
        await state.aresult()
    except Exception as error:
        return is_transient(error) and not isinstance(error, UnreachableError)
    return False


NO_RETRIES: _TaskOptions = {"cache_policy": NO_CACHE, "persist_result": False}
"""Options of Prefect tasks that use no network. Caching is off because Prefect would hash their large
arguments."""

RETRY_NETWORK_ERRORS: _TaskOptions = {
    **NO_RETRIES,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_network_error,
}
"""Options of Prefect tasks that use the network. The client retries single requests besides."""


def shorten_errors(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Shorten the messages of errors that a function raises.

    Prefect stores the message in the state of the run, and the traceback with all causes in its log.
    """

    @wraps(function)
    def with_short_errors(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if shorten_error(error) is error:
                raise
            if not isinstance(error, PrefectCvatError):
                raise shorten_error(error) from None
            cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            raise error from (None if cause is None else shorten_error(cause))

    return with_short_errors
