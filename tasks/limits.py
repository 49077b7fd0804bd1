"""How many runs may share a CVAT server or a device, as Prefect's global concurrency limits.

A limit is made with a sensible number when it is first needed; `prefect-cvat setup` makes it beforehand
with a number of one's own. It is always taken strictly: Prefect would let a run without a limit pass.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

__all__ = [
    "DEFAULT_RUNS_PER_SERVER",
    "device_limit",
    "ensure_limit",
    "job_limit",
    "run_slots",
    "server_limit",
    "slots",
    "task_limit",
]

DEFAULT_RUNS_PER_SERVER = 4
"""How many runs work on one CVAT server at a time."""

RUNS_ON_JOBS = 1000
"""How many slots a task has: a run that was given jobs takes one of them, any other run all."""

LEASE_SECONDS = 120
"""After this time the slots of a process that was killed are free again."""


def server_limit(url: str) -> str:
    """The name of the limit of runs on a CVAT server."""
    return f"prefect-cvat-server-{_slug(urlsplit(url).netloc)}"


def task_limit(url: str, task_id: int) -> str:
    """The name of the limit of runs on one task of a CVAT server, on whatever machine."""
    return f"prefect-cvat-task-{_slug(urlsplit(url).netloc)}-{task_id}"


def job_limit(url: str, job_id: int) -> str:
    """The name of the limit of runs on one job of a CVAT server: one."""
    return f"prefect-cvat-job-{_slug(urlsplit(url).netloc)}-{job_id}"


def device_limit(device: str, host: str | None = None) -> str:
    """The name of the limit of runs on a device of a machine, such as `cuda:0`."""
    return f"prefect-cvat-device-{_slug(host or socket.gethostname())}-{_slug(device)}"


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
def run_slots(
    url: str, task_id: int, jobs: Collection[int] | None = None, *, timeout: float | None = None
) -> Iterator[None]:
    """Be the only run on a task, or on jobs of it, and take a slot of the server; wait for them.

    Runs that were given jobs share the task, and each job is one run's at a time; any other run has all of
    the task.

    Args:
        url: The CVAT server.
        task_id: The task.
        jobs: The jobs that the run was given; None for one that may write to any.
        timeout: Seconds to wait; None waits for as long as it takes.

    Raises:
        TimeoutError: They were not free in time.
    """
    task, server = task_limit(url, task_id), server_limit(url)
    ensure_limit(task, RUNS_ON_JOBS, overwrite=True)
    ensure_limit(server, DEFAULT_RUNS_PER_SERVER)
    with ExitStack() as taken:
        if jobs is None:
            taken.enter_context(slots([task], occupy=RUNS_ON_JOBS, timeout=timeout))
            taken.enter_context(slots([server], timeout=timeout))
        else:
            of_jobs = [job_limit(url, job) for job in sorted(set(jobs))]
            for name in of_jobs:
                ensure_limit(name, 1)
            taken.enter_context(slots([task, *of_jobs], timeout=timeout))
            taken.enter_context(slots([server], timeout=timeout))
        yield


def slots(
    names: list[str], *, occupy: int = 1, timeout: float | None = None, max_retries: int | None = None
) -> AbstractContextManager[None]:
    """Take slots of several limits at once, or none; see Prefect's `concurrency`.

    They come back when the process has been dead for `LEASE_SECONDS`.
    """
    return concurrency(
        names,
        occupy=occupy,
        timeout_seconds=timeout,
        max_retries=max_retries,
        lease_duration=LEASE_SECONDS,
        strict=True,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
