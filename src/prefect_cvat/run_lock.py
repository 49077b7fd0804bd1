"""One run at a time on a job: CVAT adds up what two of them write.

A run that was given jobs holds these, so that several runs may share a large task; any other run holds the
task, with all its jobs.

Beside the locks lie notes about their holders, which say who has them; and one for each job to which a write
is under way of which it is not known whether it has been carried out. A run that is killed in such a moment
leaves that note, and the next run waits until the server must have carried the write out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import filelock

from prefect_cvat.cache import cache_folder
from prefect_cvat.exceptions import RunInProgressError, StorageError
from prefect_cvat.server_url import server_identity

__all__ = ["RunLock", "only_run_on"]


class RunLock:
    """The right to be the only run on a task, or on jobs of it.

    Args:
        folder: Where the notes lie.
        name: What the notes about the task begin with.
        jobs: The jobs that the run was given; None for any.

    Attributes:
        earlier_write: The time (`time.time`) of the last write of a run before, if it is not known whether
            the server has carried it out; None if it is known of all.
    """

    def __init__(self, folder: Path, name: str, jobs: Collection[int] | None) -> None:
        self._folder = folder
        self._name = name
        self._open = [
            note
            for note in folder.glob(f"{name}-*.sending")
            if jobs is None or int(note.stem.rpartition("-")[2]) in jobs
        ]
        self.earlier_write = max((note.stat().st_mtime for note in self._open), default=None)

    def sending(self, job_id: int) -> None:
        """A write to a job is about to be sent.

        Raises:
            StorageError: The disk does not take the note.
        """
        note = self._note(job_id)
        try:
            note.touch()
        except OSError as error:
            raise _no_notes(self._folder, error) from error

    def settled(self, job_id: int) -> None:
        """What was sent to the job has been carried out, or never will be."""
        self._note(job_id).unlink(missing_ok=True)

    def wait_for_earlier_write(
        self, late_commit_seconds: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until nothing can arrive any more that a run before has sent.

        Args:
            late_commit_seconds: After how many seconds a server has carried out a write, or never will.
            pause: Waits for so many seconds; may raise if the run is to stop.
        """
        if self.earlier_write is not None:
            # the clock of shared storage may be ahead of this one
            left = min(late_commit_seconds, self.earlier_write + late_commit_seconds - time.time())
            pause(max(0.0, left))
            for note in self._open:
                note.unlink(missing_ok=True)
            self.earlier_write = None

    def _note(self, job_id: int) -> Path:
        return self._folder / f"{self._name}-{job_id}.sending"


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
    name = hashlib.sha256(f"{server_identity(url)} {task_id}".encode()).hexdigest()[:24]
    folder = cache_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_notes(folder, error) from error
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
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        notes = [task_note] if jobs is None else list(job_notes.values())
        for note in notes:
            note.write_text(f"process {os.getpid()} on {socket.gethostname()} since {since}")
            locks.callback(note.unlink, missing_ok=True)
        yield RunLock(folder, name, jobs)


def _no_notes(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"the locks of runs cannot be kept in {folder}: {error}; set PREFECT_CVAT_CACHE_DIR to a folder that"
        " can be written"
    )


def _in_progress(what: str, notes: Collection[Path]) -> RunInProgressError:
    holder = ""
    for note in notes:
        with contextlib.suppress(OSError):
            holder = f" ({note.read_text(errors='replace')[:200]})"
            break
    return RunInProgressError(f"another run is annotating {what}{holder}; wait until it has ended")
