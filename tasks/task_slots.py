"""Being the only run on a task or on jobs of it, whatever the machine, by limits that go with their runs.

A limit is made when a run needs it, and removed when the last run that needs it has ended. Prefect removes a
limit also while it is taken. So whoever removes one takes all its slots first: then nobody else has any, and
whoever waits finds the limit gone, makes it anew, and waits for the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import ObjectNotFound

from prefect_cvat.tasks.concurrency_limits import (
    JOB_LIMITS,
    TASK_LIMITS,
    ensure_limit,
    job_limit,
    limit_ids,
    slots,
    task_limit,
    wait_for_slots,
)

__all__ = ["remove_left_limits", "task_slots"]

RUNS_ON_JOBS = 1000
"""How many slots a task has: a run that was given jobs takes one of them, any other run all."""

LEFT_SECONDS = 3600.0
"""After this time without a change, a limit of which no slot is taken is one that a killed run has left."""

PAGE = 200
"""How many limits Prefect lists at a time, at the most."""


@contextmanager
def task_slots(
    url: str,
    task_id: int,
    jobs: Collection[int] | None = None,
    *,
    timeout: float | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[None]:
    """Be the only run on a task, or on jobs of it; wait until it is free.

    Runs that were given jobs share the task, and each job is one run's at a time; any other run has all of
    the task.

    Args:
        url: The CVAT server.
        task_id: The task.
        jobs: The jobs that the run was given; None for one that may write to any.
        timeout: Seconds to wait; None waits for as long as it takes.
        tell: Is told, now and then, what is waited for.

    Raises:
        TimeoutError: It was not free in time.
    """
    numbers = {task_limit(url, task_id): RUNS_ON_JOBS}
    numbers |= {job_limit(url, job): 1 for job in sorted(set(jobs or ()))}

    def make() -> dict[str, UUID]:
        while len(ids := limit_ids(numbers)) < len(numbers):
            for name in numbers.keys() - ids.keys():
                ensure_limit(name, numbers[name])
        return {name: ids[name] for name in numbers}

    occupy = RUNS_ON_JOBS if jobs is None else 1
    try:
        with ExitStack() as taken:
            wait_for_slots(taken, make, occupy=occupy, timeout=timeout, tell=tell)
            yield
    finally:
        with suppress(httpx.HTTPError):  # what is left where Prefect is away, a later run removes
            _remove(numbers)
            remove_left_limits()


def remove_left_limits(older_than: float = LEFT_SECONDS) -> int:
    """Remove the limits of tasks and jobs that killed runs have left.

    Args:
        older_than: For how many seconds nobody has taken a slot of them.

    Returns:
        How many were removed.
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


def _remove(numbers: Mapping[str, int]) -> int:
    """Remove limits of which no slot is taken, given with their numbers of slots; return how many."""
    return sum(
        _remove_of(number, [name for name in numbers if numbers[name] == number])
        for number in set(numbers.values())
    )


def _remove_of(number: int, names: list[str]) -> int:
    ids = limit_ids(names)
    if not ids:
        return 0
    try:
        with slots(list(ids), occupy=number, max_retries=0), get_client(sync_client=True) as client:
            # those that existed before and after are sure to have been taken
            held = [name for name, limit in limit_ids(ids).items() if limit == ids[name]]
            for name in held:
                with suppress(ObjectNotFound):
                    client.delete_global_concurrency_limit_by_name(name)
            return len(held)
    except ConcurrencySlotAcquisitionError:  # somebody has one of them
        if len(ids) == 1:
            return 0
    return sum(_remove_of(number, [name]) for name in ids)


def _all_limits() -> Iterator[GlobalConcurrencyLimitResponse]:
    with get_client(sync_client=True) as client:
        offset = 0
        while page := client.read_global_concurrency_limits(limit=PAGE, offset=offset):
            yield from page
            offset += len(page)
