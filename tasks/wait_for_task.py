"""Lets one run at a time write to a task, or to a job of it, on all machines together.

The limit of a task or job is created when a run needs it, and removed when the last run that needs it has
ended. Prefect can remove a limit of which slots are taken. So a run removes a limit while it has all of its
slots; a run that waits for that limit then creates it again.

A flow run with shards has a slot of its task while they work; they have others.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.exceptions import ObjectNotFound

from prefect_cvat.tasks.prefect_limits import (
    JOB_LIMITS,
    TASK_LIMITS,
    create_limits,
    job_limit,
    task_limit,
    wait_for_slots,
)
from prefect_cvat.tasks.slot_leases import take_slots

__all__ = ["remove_unused_limits", "task_slots"]

RUNS_ON_JOBS = 1000
"""The number of slots of a task: a run on selected jobs takes one, a run on the whole task takes all."""

UNUSED_SECONDS = 3600.0
"""A limit without taken slots that has not changed for this time was left by a killed run."""

PAGE = 200
"""The number of limits that Prefect lists at a time."""


@contextmanager
def task_slots(
    url: str,
    task_id: int,
    jobs: Collection[int] | None = None,
    *,
    is_shard: bool = False,
    also: Mapping[str, int] | None = None,
    timeout: float | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[None]:
    """Wait until no other run uses a task, or some jobs of it, and take their slots.

    Runs on different jobs of a task may use it at the same time.

    Args:
        url: The URL of the CVAT server.
        task_id: The task.
        jobs: The jobs that the run writes to; None for the whole task. A flow run whose shards write to jobs
            names none, and takes one slot of the task, so that no run on the whole task comes in between.
        is_shard: Whether it is a shard, whose flow run has a slot of the task and removes its limit.
        also: Limits, with their default numbers of slots, of each of which one slot is taken at the same
            time; only with jobs.
        timeout: Seconds to wait; None waits without limit.
        warn: Called with a message about once a minute while the run waits.

    Raises:
        TimeoutError: The task or a job was not free in time.
    """
    task = {task_limit(url, task_id): RUNS_ON_JOBS}
    limits = task | {job_limit(url, job): 1 for job in sorted(set(jobs or ()))}
    occupy = RUNS_ON_JOBS if jobs is None else 1
    assert jobs is not None or not also, "Prefect takes the same number of slots of all limits in a request"
    to_remove = {name: limits[name] for name in limits if not (is_shard and name in task)}
    try:
        with ExitStack() as taken:
            create_limits(to_remove)  # the run before has removed them
            wait_for_slots(
                taken,
                {**(also or {}), **limits},
                occupy=occupy,
                timeout=timeout,
                warn=warn,
                ends_if_lost=jobs is None or bool(jobs),  # shards have slots of their own
            )
            own = [name for name, number in limits.items() if number == occupy]  # all of their slots
            taken.push(partial(_delete_own, own))
            to_remove = {} if jobs is None else task
            yield
            if is_shard:  # one that fails removes the limit, as its flow run may have ended
                to_remove = {}
    finally:
        with suppress(httpx.HTTPError):  # if the Prefect server does not answer, `remove_unused_limits` does
            _remove(to_remove)


def remove_unused_limits(older_than: float = UNUSED_SECONDS) -> int:
    """Remove the limits of tasks and jobs that killed runs have left.

    Args:
        older_than: Only limits without taken slots that have not changed for so many seconds.

    Returns:
        The number of limits that were removed.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than)
    return _remove(
        {
            limit.name: limit.limit
            for limit in _all_limits()
            if limit.name.startswith((TASK_LIMITS, JOB_LIMITS))
            and not limit.active_slots
            and (limit.updated is None or limit.updated < before)
        }
    )


def _delete_own(names: list[str], error: type[BaseException] | None, *_: object) -> None:
    """Delete limits of which the current run has all slots, unless it has lost them."""
    if error is not None and issubclass(
        error, CancelledError
    ):  # how Prefect ends a run that has lost its slots
        return
    with suppress(httpx.HTTPError):
        _delete(names)


def _delete(names: Iterable[str]) -> None:
    with get_client(sync_client=True) as client:
        for name in names:
            with suppress(ObjectNotFound):
                client.delete_global_concurrency_limit_by_name(name)


def _remove(numbers: Mapping[str, int]) -> int:
    """Remove those of some limits, given with their numbers of slots, that have no taken slot; count them."""
    return sum(
        _remove_of(number, [name for name in numbers if numbers[name] == number])
        for number in set(numbers.values())
    )


def _remove_of(number: int, names: list[str]) -> int:
    with ExitStack() as taken:
        try:
            held = take_slots(taken, names, occupy=number)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
                raise
            held = None
        if held is not None:
            _delete(held)
            return len(held)
    # a run has a slot of one of them, or somebody has given one of them fewer slots, or none
    return sum(_remove_of(number, [name]) for name in names) if len(names) > 1 else 0


def _all_limits() -> Iterator[GlobalConcurrencyLimitResponse]:
    with get_client(sync_client=True) as client:
        offset = 0
        while page := client.read_global_concurrency_limits(limit=PAGE, offset=offset):
            yield from page
            if len(page) < PAGE:
                return
            offset += PAGE
