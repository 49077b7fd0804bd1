"""Prefect's global concurrency limits on runs: their names, and taking their slots.

A run takes a slot of its CVAT server, of its device (`wait_for_device.py`), and of its task or jobs
(`wait_for_task.py`). A limit is created with a default number of slots when a run first needs it;
`prefect-cvat setup` creates those of servers and devices beforehand.

A slot is held by a lease (`slot_leases.py`). A run that ends or is cancelled returns its slots. The slots of
a killed run are free again after two minutes. If the Prefect server is restarted and keeps leases in memory,
slots stay taken until somebody frees them; `prefect-cvat setup` warns of that setting.
"""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from prefect_cvat.http.server_url import server_slug
from prefect_cvat.metrics import add_counts
from prefect_cvat.tasks.client_retries import client_retries
from prefect_cvat.tasks.flow_run_watch import raise_if_stopped
from prefect_cvat.tasks.slot_leases import take_slots

__all__ = [
    "DEFAULT_RUNS_PER_SERVER",
    "create_limits",
    "device_limit",
    "ensure_limit",
    "job_limit",
    "server_limit",
    "server_slot",
    "task_limit",
    "try_slots",
    "wait_for_slots",
]

DEFAULT_RUNS_PER_SERVER = 4
"""The default number of runs that use one CVAT server at a time."""

SERVER_LIMITS = "prefect-cvat-server-"
TASK_LIMITS = "prefect-cvat-task-"
JOB_LIMITS = "prefect-cvat-job-"
"""The prefixes of the names of limits of servers, of tasks and of jobs."""

FIRST_POLL_SECONDS = 0.25
POLL_SECONDS = 4.0
"""How often a waiting run checks whether a slot is free: first, and after it has waited for some time. Each
check takes twice as long to come as the one before."""

SECONDS_BETWEEN_WARNINGS = 60.0
"""How often a waiting run logs what it waits for."""


def server_limit(url: str) -> str:
    """The name of the limit on runs that use a CVAT server."""
    return f"{SERVER_LIMITS}{server_slug(url)}"


def task_limit(url: str, task_id: int) -> str:
    """The name of the limit on runs on one task of a CVAT server, on all machines together."""
    return f"{TASK_LIMITS}{server_slug(url)}-{task_id}"


def job_limit(url: str, job_id: int) -> str:
    """The name of the limit on runs on one job of a CVAT server."""
    return f"{JOB_LIMITS}{server_slug(url)}-{job_id}"


def device_limit(device: str, host: str | None = None) -> str:
    """The name of the limit on runs on a device of a machine.

    Args:
        device: The device, such as `cuda:0`. For this machine it is translated by `CUDA_VISIBLE_DEVICES`, so
            that workers with different visible GPUs do not wait for each other.
        host: The machine; None for this one.
    """
    if host is None:
        host, device = socket.gethostname(), _physical_device(device)
    return f"prefect-cvat-device-{_slug(host)}-{_slug(device)}"


def ensure_limit(name: str, limit: int, *, overwrite: bool = False) -> str:
    """Create a limit unless it exists.

    Args:
        name: The name of the limit.
        limit: The number of slots.
        overwrite: Also change the number of slots of an existing limit.

    Returns:
        `created`, `changed` or `unchanged`.
    """
    with get_client(sync_client=True) as client:
        try:
            existing = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))
            except ObjectAlreadyExists:  # another run has just created it
                return "unchanged"
            return "created"
        if not overwrite or existing.limit == limit:
            return "unchanged"
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=limit))
        return "changed"


@contextmanager
def server_slot(
    url: str, *, timeout: float | None = None, warn: Callable[[str], object] = lambda _: None
) -> Iterator[None]:
    """Wait for a slot of a CVAT server, and take it.

    Args:
        url: The URL of the CVAT server.
        timeout: Seconds to wait; None waits without limit.
        warn: Called with a message about once a minute while the run waits.

    Raises:
        TimeoutError: No slot was free in time.
    """
    with ExitStack() as taken:
        limits = {server_limit(url): DEFAULT_RUNS_PER_SERVER}
        wait_for_slots(taken, limits, occupy=1, timeout=timeout, warn=warn)
        yield


def create_limits(limits: Mapping[str, int]) -> None:
    """Create those limits that do not exist, given with their numbers of slots."""
    with get_client(sync_client=True) as client:
        for name, limit in limits.items():
            with suppress(ObjectAlreadyExists):
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))


def try_slots(
    taken: ExitStack, limits: Mapping[str, int], *, occupy: int = 1, ends_if_lost: bool = True
) -> bool:
    """Take slots of all of some limits, or of none. Limits that do not exist are created.

    Args:
        taken: The stack that returns the slots when it is closed.
        limits: The names of the limits, and the number of slots of each that is created.
        occupy: The number of slots to take of each.
        ends_if_lost: Whether the run ends if the slots cannot be renewed.

    Returns:
        Whether the slots were free.
    """
    for _ in range(2):
        with ExitStack() as mine:
            found = take_slots(mine, [*limits], occupy=occupy, ends_if_lost=ends_if_lost)
            if found is None:
                return False
            if len(found) == len(limits):
                taken.push(mine.pop_all())
                return True
        create_limits({name: limit for name, limit in limits.items() if name not in found})
    return False


def wait_for_slots(
    taken: ExitStack,
    limits: Mapping[str, int],
    *,
    occupy: int,
    timeout: float | None,
    warn: Callable[[str], object],
    ends_if_lost: bool = True,
) -> None:
    """Take slots of all of some limits, as soon as they are free.

    A limit that is removed in the meantime is created again.

    Args:
        taken: The stack that returns the slots when it is closed.
        limits: The names of the limits, and the number of slots of each that is created.
        occupy: The number of slots to take of each limit.
        timeout: Seconds to wait; None waits without limit.
        warn: Called with a message about once a minute while the run waits.
        ends_if_lost: Whether the run ends if the slots cannot be renewed.

    Raises:
        TimeoutError: The slots were not free in time.
        RunStoppedError: The flow run of the shard that waits is no longer running.
    """
    started = time.monotonic()
    next_warning = SECONDS_BETWEEN_WARNINGS
    delay = FIRST_POLL_SECONDS
    names = list(limits)
    full = names[0]
    while not try_slots(taken, limits, occupy=occupy, ends_if_lost=ends_if_lost):
        raise_if_stopped()
        waited = time.monotonic() - started
        if delay == FIRST_POLL_SECONDS and len(names) > 1:
            full = _first_full(names, occupy) or full
        if timeout is not None and waited > timeout:
            raise TimeoutError(f"no slot of the limit {', '.join(names[:3])} was free in {timeout:.0f} s")
        if waited > next_warning:
            next_warning += SECONDS_BETWEEN_WARNINGS
            if found := _first_full(names, occupy):
                full = found
                warn(
                    f"waiting for a slot of the limit {full}; if no run uses it any more, free it with"
                    f" `prefect gcl update {full} --active-slots 0`"
                )
            else:
                warn(f"waiting for slots of the limits {', '.join(names)}; none of them is known to be full")
        time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 (spreads the requests of waiting runs)
        delay = min(2 * delay, POLL_SECONDS)
    kind = "server" if full.startswith(SERVER_LIMITS) else "task"
    add_counts({("prefect_cvat_slot_wait_seconds", kind): time.monotonic() - started})


def _first_full(names: Sequence[str], occupy: int) -> str | None:
    """The first of some limits that has fewer free slots than a run takes; None if that is not known."""
    with suppress(httpx.HTTPError), client_retries(0), get_client(sync_client=True) as client:
        for name in names:
            with suppress(ObjectNotFound):
                limit = client.read_global_concurrency_limit_by_name(name)
                if limit.limit - limit.active_slots < occupy:
                    return name
    return None


def _physical_device(device: str) -> str:
    kind, _, number = device.partition(":")
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if kind == "cuda" and number.isdigit() and int(number) < len(visible) and visible[int(number)]:
        return f"cuda:{visible[int(number)]}"
    return device


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
