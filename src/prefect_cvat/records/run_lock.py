"""Locks that allow one run at a time on a job: concurrent runs would add annotations twice.

A run on selected jobs locks these jobs, so that several runs can share a large task. Any other run locks the
task, which includes its jobs.

Next to each lock is a note that names its holder. A second note marks a job with a write in progress. If a
run is killed during the write, this note remains, and the next run waits until the server has executed the
write or never will.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sqlite3
import tempfile
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
"""The lock that is held while other locks are acquired or removed."""


class RunLock:
    """The acquired locks of a run, and its notes about writes in progress.

    Args:
        folder: The folder of the notes.
        name: The prefix of the names of the task's notes.
        jobs: The ids of the selected jobs; None for all.

    Attributes:
        earlier_write: The time of the last write of unknown outcome of an earlier run, by the clock that
            dates files in the folder; None if there is none.
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
        """Note that a write to a job is about to be sent.

        Raises:
            StorageError: The note cannot be written to disk.
        """
        note = self._note(job_id)
        try:
            create_file(note)
            note.touch()
        except OSError as error:
            raise _no_notes(self._folder, error) from error

    def settled(self, job_id: int) -> None:
        """Note that all writes to a job have been executed or never will be."""
        self._note(job_id).unlink(missing_ok=True)

    def wait_for_earlier_write(
        self, late_commit_seconds: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until the server can no longer execute a write of an earlier run.

        Args:
            late_commit_seconds: Seconds after which a server has executed a write, or never will.
            pause: Waits for a number of seconds; may raise if the run is to stop.

        Raises:
            StorageError: No file can be written in the folder.
        """
        if self.earlier_write is not None:
            passed = max(0.0, self._storage_time() - self.earlier_write)
            pause(max(0.0, late_commit_seconds - passed))
            for note in self._open:
                note.unlink(missing_ok=True)
            self.earlier_write = None

    def _storage_time(self) -> float:
        """The time by the clock that dates files in the folder; shared storage has its own."""
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="clock-") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError as error:
            raise _no_notes(self._folder, error) from error

    def _note(self, job_id: int) -> Path:
        return self._folder / f"{self._name}-{job_id}.sending"


@contextlib.contextmanager
def exclusive_run(url: str, task_id: int, jobs: Collection[int] | None = None) -> Iterator[RunLock]:
    """Acquire the lock of a task, or of jobs of it. Locks are released when the process ends.

    Args:
        url: The address of the server.
        task_id: The id of the task.
        jobs: The ids of the selected jobs; None locks the whole task.

    Raises:
        RunInProgressError: Another run holds the lock; the message names its process and start time.
        StorageError: The lock files cannot be written, or belong to another user who does not share them.
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
    """The folder of the locks and notes."""
    return cache_folder() / "locks"


@contextlib.contextmanager
def guard_lock_files(folder: Path) -> Iterator[None]:
    """Exclude other processes from acquiring and removing locks: a removed lock file locks nothing.

    Raises:
        OSError: The folder cannot be written.
    """
    create_file(guard := folder / GUARD)
    with filelock.FileLock(guard):
        yield


@contextlib.contextmanager
def lock_task(path: Path, *, shared: bool) -> Iterator[None]:
    """Hold the lock of a task, exclusive or shared.

    Raises:
        filelock.Timeout: Another run holds it.
        OSError: It cannot be opened.
    """
    create_file(path)
    try:
        # not a singleton: runs in one process must not share a lock
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
    """The time (`time.time`) since which a run holds a task or one of some jobs; None if no run does.

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
    """The prefix of the file names of a task."""
    return hashlib.sha256(f"{server_identity(url)} {task_id}".encode()).hexdigest()[:24]


def _write_note(note: Path, text: str) -> None:
    note.unlink(missing_ok=True)  # it may be left by another user and not be writable
    create_file(note)
    note.write_text(text)


def _no_notes(folder: Path, error: OSError) -> StorageError:
    if isinstance(error, PermissionError):
        return StorageError(
            f"the locks of runs in {folder} belong to another user, who does not share them: {error}. To"
            f" share them with a group, that user runs `chmod -R g+rwX {folder.parent}`; or set"
            " PREFECT_CVAT_CACHE_DIR to a folder of your own, then only a Prefect server can prevent two runs"
            " on one task"
        )
    return StorageError(
        f"the locks of runs cannot be written in {folder}: {error}; set PREFECT_CVAT_CACHE_DIR to a writable"
        " folder"
    )


def _in_progress(what: str, notes: Collection[Path]) -> RunInProgressError:
    holder = ""
    for note in notes:
        with contextlib.suppress(OSError):
            holder = f" ({note.read_text(errors='replace')[:200]})"
            break
    return RunInProgressError(f"another run is annotating {what}{holder}; wait until it has ended")
