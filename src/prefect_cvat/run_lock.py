"""One run at a time on a task: CVAT adds up what two of them write.

Beside the lock lies a note about its holder. A run that ends well takes the note away. One that was
killed, or does not know what became of something that it sent, leaves it: the server may yet commit that,
and the next run looks out for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import filelock

from prefect_cvat.cache import cache_folder
from prefect_cvat.exceptions import RunInProgressError

__all__ = ["RunLock", "only_run_on"]


@dataclass
class RunLock:
    """What a run hears from the one before it, and tells the next one.

    Attributes:
        follows_unsure: The run before may have sent something that the server has yet to commit.
        is_unsure: This run may have.
    """

    follows_unsure: bool
    is_unsure: bool = False


@contextlib.contextmanager
def only_run_on(url: str, task_id: int) -> Iterator[RunLock]:
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
        run = RunLock(follows_unsure=note.exists())
        note.write_text(
            f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        )
        try:
            yield run
        finally:
            if not run.is_unsure:
                note.unlink(missing_ok=True)
    finally:
        lock.release()
