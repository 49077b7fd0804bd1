"""One run at a time on a task: CVAT adds up what two of them write."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import filelock

from prefect_cvat.cache import cache_folder
from prefect_cvat.exceptions import RunInProgressError

__all__ = ["only_run_on"]


@contextlib.contextmanager
def only_run_on(url: str, task_id: int) -> Iterator[None]:
    """Be the only run of this machine on a task; the lock ends with the process, however it ends.

    Raises:
        RunInProgressError: Another run has the task; the message says which process, since when.
    """
    name = hashlib.sha256(f"{url} {task_id}".encode()).hexdigest()[:24]
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{name}.lock")
    note = folder / f"{name}.txt"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        holder = ""
        with contextlib.suppress(OSError):
            holder = f" ({note.read_text()})"
        raise RunInProgressError(
            f"another run is annotating task {task_id} on {url}{holder}; wait until it has ended"
        ) from None
    try:
        note.write_text(
            f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        )
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()
