"""One run at a time on a job: CVAT adds up what two of them write.

A run that was given jobs holds these, so that several runs may share a large task; any other run holds the
task, with all its jobs.

Beside the locks lie notes about their holders. A run that ends well takes its note away. One that was
killed, or does not know what became of something that it sent, leaves it: the server may yet commit that,
and the next run looks out for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock

from prefect_cvat.cache import cache_folder
from prefect_cvat.exceptions import RunInProgressError, StorageError

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
def only_run_on(url: str, task_id: int, jobs: Collection[int] | None = None) -> Iterator[RunLock]:
    """Be the only run of this machine on a task, or on jobs of it; the locks end with the process.

    Args:
        url: The server.
        task_id: The task.
        jobs: The jobs that the run was given; None for a run that may write to any.

    Raises:
        RunInProgressError: Another run has the task or one of the jobs; the message says which process,
            since when.
    """
    name = hashlib.sha256(f"{url} {task_id}".encode()).hexdigest()[:24]
    folder = cache_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the locks of runs cannot be kept in {folder}: {error}; set PREFECT_CVAT_CACHE_DIR to a folder"
            " that can be written"
        ) from error
    task_note = folder / f"{name}.txt"
    job_notes = {job: folder / f"{name}-{job}.txt" for job in sorted(jobs or ())}
    with ExitStack() as locks:
        # an instance for each run: those of one process must not share what they hold
        task_lock = filelock.ReadWriteLock(folder / f"{name}.lock", is_singleton=False)
        locks.callback(task_lock.close)
        acquire = task_lock.acquire_write if jobs is None else task_lock.acquire_read
        try:
            acquire(timeout=0, blocking=False)
            locks.callback(task_lock.release)
        except filelock.Timeout:
            holders = [task_note, *folder.glob(f"{name}-*.txt")] if jobs is None else [task_note]
            raise _in_progress(f"task {task_id} on {url}", holders) from None
        for job, note in job_notes.items():
            try:
                locks.enter_context(filelock.FileLock(folder / f"{name}-{job}.lock").acquire(timeout=0))
            except filelock.Timeout:
                raise _in_progress(f"job {job} of task {task_id} on {url}", [note]) from None
        mine = [task_note] if jobs is None else list(job_notes.values())
        older = [task_note, *(folder.glob(f"{name}-*.txt") if jobs is None else mine)]
        run = RunLock(follows_unsure=any(note.exists() for note in older))
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        for note in mine:
            note.write_text(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        try:
            yield run
        finally:
            if not run.is_unsure:
                for note in older if jobs is None else mine:
                    note.unlink(missing_ok=True)


def _in_progress(what: str, notes: Collection[Path]) -> RunInProgressError:
    holder = ""
    for note in notes:
        with contextlib.suppress(OSError):
            holder = f" ({note.read_text()})"
            break
    return RunInProgressError(f"another run is annotating {what}{holder}; wait until it has ended")
