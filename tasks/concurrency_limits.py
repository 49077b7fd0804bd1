"""How many runs may share a CVAT server or a device, as Prefect's global concurrency limits.

A limit is made with a sensible number when it is first needed; `prefect-cvat setup` makes it beforehand
with a number of one's own. It is always taken strictly: Prefect would let a run without a limit pass.
Those of servers and devices stay; those of tasks and jobs go with their runs, see `task_slots.py`.
"""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from uuid import UUID

from httpx import HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_cvat.events.cvat_events import server_slug

__all__ = [
    "DEFAULT_RUNS_PER_SERVER",
    "device_limit",
    "ensure_limit",
    "is_refused",
    "job_limit",
    "limit_ids",
    "server_limit",
    "server_slot",
    "slots",
    "task_limit",
    "wait_for_slots",
]

DEFAULT_RUNS_PER_SERVER = 4
"""How many runs work on one CVAT server at a time."""

TASK_LIMITS = "prefect-cvat-task-"
JOB_LIMITS = "prefect-cvat-job-"
"""What the names of the limits of tasks and of jobs begin with."""

LEASE_SECONDS = 120
"""After this time the slots of a process that was killed are free again. They are renewed at three quarters
of it; a run that cannot is ended by Prefect after three attempts, before another one is let in."""

RENEWAL_RETRIES = 2
"""How often each of these attempts sends its request again: they must all fit into a quarter of the lease."""

POLL_SECONDS = 4.0
"""How often, about, a run that has waited for some time looks for a free slot."""

SECONDS_BETWEEN_WORDS = 60.0
"""How often it is said that a run waits."""


def server_limit(url: str) -> str:
    """The name of the limit of runs on a CVAT server."""
    return f"prefect-cvat-server-{server_slug(url)}"


def task_limit(url: str, task_id: int) -> str:
    """The name of the limit of runs on one task of a CVAT server, on whatever machine."""
    return f"{TASK_LIMITS}{server_slug(url)}-{task_id}"


def job_limit(url: str, job_id: int) -> str:
    """The name of the limit of runs on one job of a CVAT server: one."""
    return f"{JOB_LIMITS}{server_slug(url)}-{job_id}"


def device_limit(device: str, host: str | None = None) -> str:
    """The name of the limit of runs on a device of a machine, such as `cuda:0`.

    On this machine a device is called what `CUDA_VISIBLE_DEVICES` says it is, so that workers that are
    shown different GPUs do not wait for one another.
    """
    if host is None:
        host, device = socket.gethostname(), _physical(device)
    return f"prefect-cvat-device-{_slug(host)}-{_slug(device)}"


def ensure_limit(name: str, limit: int, *, overwrite: bool = False) -> str:
    """Make a limit if there is none.

    Args:
        name: Its name.
        limit: How many slots it has.
        overwrite: Change the number of slots if there is one already.

    Returns:
        What was done: `created`, `changed` or `unchanged`.
    """
    with get_client(sync_client=True) as client:
        try:
            existing = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))
            except ObjectAlreadyExists:  # another run has just made it
                return "unchanged"
            return "created"
        if not overwrite or existing.limit == limit:
            return "unchanged"
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=limit))
        return "changed"


@contextmanager
def server_slot(
    url: str, *, timeout: float | None = None, tell: Callable[[str], object] = lambda _: None
) -> Iterator[None]:
    """Take one of the slots that a CVAT server has for runs; wait for it, see `task_slots`."""
    name = server_limit(url)
    ensure_limit(name, DEFAULT_RUNS_PER_SERVER)
    with ExitStack() as taken:
        wait_for_slots(taken, lambda: limit_ids([name]), occupy=1, timeout=timeout, tell=tell)
        yield


def limit_ids(names: Iterable[str]) -> dict[str, UUID]:
    """The ids of limits by their names; limits that do not exist are left out."""
    ids = {}
    with get_client(sync_client=True) as client:
        for name in names:
            with suppress(ObjectNotFound):
                ids[name] = client.read_global_concurrency_limit_by_name(name).id
    return ids


def slots(
    names: list[str], *, occupy: int = 1, max_retries: int | None = None
) -> AbstractContextManager[None]:
    """Take slots of several limits at once, or none; see Prefect's `concurrency`.

    They come back when the process has been dead for `LEASE_SECONDS`.
    """
    return concurrency(
        names,
        occupy=occupy,
        max_retries=max_retries,
        lease_duration=LEASE_SECONDS,
        strict=True,
    )


def is_refused(error: ConcurrencySlotAcquisitionError, status: int) -> bool:
    """Whether slots were refused with an HTTP status: 423 when they are taken, 503 when SQLite is busy."""
    cause = error.__cause__
    return isinstance(cause, HTTPStatusError) and cause.response.status_code == status


def wait_for_slots(
    taken: ExitStack,
    make: Callable[[], Mapping[str, UUID]],
    *,
    occupy: int,
    timeout: float | None,
    tell: Callable[[str], object],
) -> None:
    """Take slots of all of some limits, as soon as they are free.

    A limit that is removed while this waits is made again.

    Args:
        taken: Gives the slots back.
        make: Makes the limits that are missing, and returns the ids of all by their names.
        occupy: How many slots of each.
        timeout: Seconds to wait; None waits for as long as it takes.
        tell: Is told, now and then, what is waited for.

    Raises:
        TimeoutError: They were not free in time.
    """
    started = time.monotonic()
    next_word = SECONDS_BETWEEN_WORDS
    delay = 0.25
    ids = make()
    names = list(ids)
    while True:
        with ExitStack() as mine:
            if _take(mine, names, occupy=occupy):
                # Prefect passes over a limit that is missing among others: only those that existed before
                # and after are sure to have been taken
                if limit_ids(names) == ids:
                    taken.push(mine.pop_all())
                    return
                delay = 0.25
        ids = make()
        waited = time.monotonic() - started
        if timeout is not None and waited > timeout:
            raise TimeoutError(f"no slot of the limit {', '.join(names[:3])} was free in {timeout:.0f} s")
        if waited > next_word:
            next_word += SECONDS_BETWEEN_WORDS
            tell(
                f"waiting for a slot of the limit {', '.join(names[:3])}; if no run has it any more, free it"
                f" with `prefect gcl update {names[0]} --active-slots 0`"
            )
        time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 (so that those who wait do not meet again)
        delay = min(2 * delay, POLL_SECONDS)


def _take(taken: ExitStack, names: list[str], *, occupy: int) -> bool:
    """Take slots of those limits that exist; False if they are not free, or none exists."""
    # a lease that cannot be renewed ends the run; with Prefect's own retries, it would end after another run
    # has been let in
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RENEWAL_RETRIES}):
        try:
            # nor does Prefect do the waiting: it looks again after up to 30 s
            taken.enter_context(slots(names, occupy=occupy, max_retries=0))
        except ConcurrencySlotAcquisitionError as error:
            is_missing = error.__cause__ is None
            if not (is_missing or is_refused(error, 423) or is_refused(error, 503)):
                raise
            return False
    return True


def _physical(device: str) -> str:
    kind, _, number = device.partition(":")
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if kind == "cuda" and number.isdigit() and int(number) < len(visible) and visible[int(number)]:
        return f"cuda:{visible[int(number)]}"
    return device


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
