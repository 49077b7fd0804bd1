"""How many runs may share a CVAT server or a device, as Prefect's global concurrency limits.

A limit is made with a sensible number when it is first needed; `prefect-cvat setup` makes it beforehand
with a number of one's own. It is always taken strictly: Prefect would let a run without a limit pass.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

__all__ = [
    "DEFAULT_RUNS_PER_SERVER",
    "device_limit",
    "device_of",
    "ensure_limit",
    "run_slots",
    "server_limit",
    "task_limit",
]

DEFAULT_RUNS_PER_SERVER = 4
"""How many runs work on one CVAT server at a time."""


def device_of(function: object) -> str | None:
    """The device that a function runs on, such as `cuda:0`; None if it does not say."""
    device = getattr(function, "device", None)
    return None if device is None else str(device)


def server_limit(url: str) -> str:
    """The name of the limit of runs on a CVAT server."""
    return f"prefect-cvat-server-{_slug(urlsplit(url).netloc)}"


def task_limit(url: str, task_id: int) -> str:
    """The name of the limit of runs on one task of a CVAT server: one, on whatever machine."""
    return f"prefect-cvat-task-{_slug(urlsplit(url).netloc)}-{task_id}"


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
            except PrefectHTTPStatusError as error:
                if error.response.status_code != 409:  # another run has just made it
                    raise
                return "unchanged"
            return "created"
        if not overwrite or existing.limit == limit:
            return "unchanged"
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=limit))
        return "changed"


@contextmanager
def run_slots(url: str, task_id: int, device: str | None, *, timeout: float | None = None) -> Iterator[None]:
    """Take a slot of the task, of the server and of the device for the length of a run; wait for them.

    Args:
        url: The CVAT server.
        task_id: The task.
        device: Where the model runs; on the CPU (or where it is unknown) no slot is needed.
        timeout: Seconds to wait; None waits for as long as it takes.

    Raises:
        TimeoutError: They were not free in time.
    """
    wanted = [(task_limit(url, task_id), 1), (server_limit(url), DEFAULT_RUNS_PER_SERVER)]
    if device is not None and device != "cpu":
        wanted.append((device_limit(device), 1))
    with ExitStack() as slots:
        for name, limit in wanted:
            ensure_limit(name, limit)
            slots.enter_context(concurrency(name, occupy=1, timeout_seconds=timeout, strict=True))
        yield


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
