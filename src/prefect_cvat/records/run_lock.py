"""One run at a time on a job: CVAT adds up what two of them write.

A run that was given jobs holds these, so that several runs may share a large task; any other run holds the
task, with all its jobs.

Beside the locks lie notes about their holders, which say who has them; and one for each job to which a write
is under way whose outcome is not known. A run that is killed in such a moment
leaves that note, and the next run waits until the server must have carried the write out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path

import filelock

from prefect_cvat.exceptions import RunInProgressError, StorageError
from prefect_cvat.files.folder_permissions import create_file, make_folder
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.inference.detection_cache import cache_folder

__all__ = [
    "RunLock",
    "exclusive_run",
    "guard_lock_files",
    "lock_job",
    "lock_task",
    "locked_since",
    "locks_folder",
]

GUARD = "guard"
"""The lock that is held while others are taken, or removed."""


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
            create_file(note)
            note.touch()
        except OSError as error:
            raise _no_notes(self._folder, error) from error

    def settled(self, job_id: int) -> None:
        """What was sent to the job is committed, or never will be."""
        self._note(job_id).unlink(missing_ok=True)

    def wait_for_earlier_write(
        self, late_commit_seconds: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until nothing can arrive any more that a run before has sent.

        Args:
            late_commit_seconds: Seconds after which a server has committed a write, or never will.
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
def exclusive_run(url: str, task_id: int, jobs: Collection[int] | None = None) -> Iterator[RunLock]:
    """Be the only run of this machine on a task, or on jobs of it; the locks end with the process.

    Args:
        url: The server.
        task_id: The task.
        jobs: The jobs that the run was given; None for a run that may write to any.

    Raises:
        RunInProgressError: Another run has the task or one of the jobs; the message says which process,
            since when.
        StorageError: The locks cannot be kept, or belong to another user who does not share them.
    """
    folder, name = locks_folder(), _name(url, task_id)
    task_note = folder / f"{name}.txt"
    job_notes = {job: folder / f"{name}-{job}.txt" for job in sorted(jobs or ())}
    with ExitStack() as locks:
        try:
            make_folder(folder, within=cache_folder())
            with guard_lock_files(folder):
                try:
                    locks.enter_context(lock_task(folder / f"{name}.lock", shared=jobs is not None))
                except filelock.Timeout:
                    holders = [task_note, *folder.glob(f"{name}-*.txt")] if jobs is None else [task_note]
                    raise _in_progress(f"task {task_id} on {url}", holders) from None
                for job, note in job_notes.items():
                    try:
                        locks.enter_context(lock_job(folder / f"{name}-{job}.lock"))
                    except filelock.Timeout:
                        raise _in_progress(f"job {job} of task {task_id} on {url}", [note]) from None
            since = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            for note in [task_note] if jobs is None else job_notes.values():
                _write_note(note, f"process {os.getpid()} on {socket.gethostname()} since {since}")
                locks.callback(note.unlink, missing_ok=True)
            lock_held = RunLock(folder, name, jobs)
        except OSError as error:
            raise _no_notes(folder, error) from error
        yield lock_held


def locks_folder() -> Path:
    """Where the locks lie, and the notes about their holders."""
    return cache_folder() / "locks"


@contextlib.contextmanager
def guard_lock_files(folder: Path) -> Iterator[None]:
    """Be the only process that takes locks or removes them: one that has been removed keeps nobody out.

    Raises:
        OSError: The folder cannot be written.
    """
    create_file(guard := folder / GUARD)
    with filelock.FileLock(guard):
        yield


@contextlib.contextmanager
def lock_task(path: Path, *, shared: bool) -> Iterator[None]:
    """Hold the lock of a task, alone or together with others that share it.

    Raises:
        filelock.Timeout: Others have it.
        OSError: It cannot be opened.
    """
    create_file(path)
    try:
        # an instance for each run: those of one process must not share what they hold
        lock = filelock.ReadWriteLock(path, is_singleton=False)
        with contextlib.closing(lock):
            (lock.acquire_read if shared else lock.acquire_write)(timeout=0, blocking=False)
            try:
                yield
            finally:
                lock.release()
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error


@contextlib.contextmanager
def lock_job(path: Path) -> Iterator[None]:
    """Hold the lock of a job, see `lock_task`."""
    create_file(path)
    with filelock.FileLock(path).acquire(timeout=0):
        yield


def locked_since(url: str, task_id: int, jobs: Iterable[int]) -> float | None:
    """Since when (`time.time`) a run of this machine has a task, or one of some jobs of it; None if none has.

    Raises:
        StorageError: The locks cannot be read.
    """
    folder, name = locks_folder(), _name(url, task_id)
    task, of_jobs = folder / f"{name}.lock", [folder / f"{name}-{job}.lock" for job in jobs]
    if not task.exists():
        return None
    try:
        with guard_lock_files(folder):
            if _is_free(lock_task(task, shared=True)):
                held = [lock for lock in of_jobs if lock.exists() and not _is_free(lock_job(lock))]
            else:
                held = [task]
        notes = [lock.with_suffix(".txt") for lock in held]
        return max((note.stat().st_mtime for note in notes if note.exists()), default=None)
    except OSError as error:
        raise _no_notes(folder, error) from error


def _is_free(lock: AbstractContextManager[object]) -> bool:
    try:
        with lock:
            return True
    except filelock.Timeout:
        return False


def _name(url: str, task_id: int) -> str:
    """What the names of the files about a task begin with."""
    return hashlib.sha256(f"{server_identity(url)} {task_id}".encode()).hexdigest()[:24]


def _write_note(note: Path, text: str) -> None:
    note.unlink(missing_ok=True)  # one that another user has left, and that only this user may write to
    create_file(note)
    note.write_text(text)


def _no_notes(folder: Path, error: OSError) -> StorageError:
    if isinstance(error, PermissionError):
        return StorageError(
            f"the locks of runs in {folder} belong to another user, who does not share them: {error}. To"
            f" share them with a group, that user runs `chmod -R g+rwX {folder.parent}`; or set"
            " PREFECT_CVAT_CACHE_DIR to a folder of your own: then only a Prefect server keeps your runs and"
            " theirs on one task apart"
        )
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
