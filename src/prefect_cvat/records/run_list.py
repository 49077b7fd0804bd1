"""Lists the runs recorded on this machine, and removes old records and locks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import filelock
from pydantic import BaseModel, ConfigDict

from prefect_cvat.exceptions import RunNotFoundError, StorageError
from prefect_cvat.files.spool import remove_stale_spools
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.records.record_reader import RecordedRun, read_run, recorded_runs
from prefect_cvat.records.record_writer import ISSUES
from prefect_cvat.records.run_lock import (
    guard_lock_files,
    lock_job,
    lock_task,
    locked_since,
    locks_folder,
)
from prefect_cvat.settings import Settings

__all__ = ["MIN_AGE", "ListedRun", "Pruned", "RunState", "list_run", "list_runs", "prune_runs"]

MIN_AGE = timedelta(hours=1)
"""Minimum age of removed files: a run on another machine may share the folder."""


class RunState(StrEnum):
    """The state of a run, as far as this machine knows."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """It ended during a request, whose outcome is unknown."""
    ENDED = "ended"


class ListedRun(BaseModel):
    """A recorded run.

    Attributes:
        run: The run id.
        task_id: The id of the task.
        server: The address of the CVAT server.
        kind: `annotate`, `track`, `track_shapes` or `refine`; None for a run of an earlier version.
        function: The name of the function.
        started: The start time.
        added: The number of annotations that it has added and not removed.
        state: Its state.
    """

    model_config = ConfigDict(extra="forbid")

    run: str
    task_id: int
    server: str
    kind: str | None
    function: str
    started: datetime
    added: int
    state: RunState

    def line(self) -> str:
        """The run as a line for a terminal."""
        return (
            f"{self.run}  {self.started:%Y-%m-%d %H:%M} UTC  {self.kind or '-'}  {self.function}"
            f"  {self.server}/tasks/{self.task_id}  {self.added} added  {self.state}"
        )


class Pruned(BaseModel):
    """What `prune_runs` has removed, or would remove.

    Attributes:
        runs: The ids of the runs whose records were removed; they can no longer be undone.
        locks: The number of removed lock files and notes.
        spools: The number of removed folders of killed runs.
        dry_run: Whether nothing was removed.
    """

    model_config = ConfigDict(extra="forbid")

    runs: list[str]
    locks: int
    spools: int
    dry_run: bool

    def lines(self) -> list[str]:
        """The result as lines for a terminal."""
        removed = "would be removed" if self.dry_run else "removed"
        lines = [
            f"{pluralize(len(self.runs), 'record')} of runs, {pluralize(self.locks, 'lock file')} {removed}"
        ]
        if self.spools:
            lines.append(f"{pluralize(self.spools, 'folder')} of killed runs {removed}")
        if self.runs:
            lines.append("these runs can no longer be undone" + (" then" if self.dry_run else ""))
        return lines


def list_runs(task_id: int | None = None) -> list[ListedRun]:
    """List the recorded runs, newest first.

    Args:
        task_id: Only the runs on this task, of any server.

    Raises:
        StorageError: A record or a lock cannot be read.
    """
    headers = [header for header in recorded_runs() if task_id in (None, header.task_id)]
    return [list_run(read_run(header.run)) for header in headers]


def prune_runs(older_than: timedelta, *, dry_run: bool = False) -> Pruned:
    """Remove old records of runs, unused locks, and temporary folders of killed runs.

    A run without a record cannot be undone.

    Args:
        older_than: Minimum time since the last write to a record or a lock.
        dry_run: Count what would be removed, but remove nothing.

    Raises:
        ValueError: `older_than` is less than `MIN_AGE`.
        StorageError: A file cannot be removed.
    """
    if older_than < MIN_AGE:
        raise ValueError(
            f"files less than {MIN_AGE} old are not removed (requested: {older_than}): a run on another"
            " machine may share the folder"
        )
    before = time.time() - older_than.total_seconds()
    try:
        runs = list(_old_records(before))
        if not dry_run:
            for folder in runs:
                shutil.rmtree(folder)
        locks = _remove_locks(before, dry_run=dry_run)
    except OSError as error:
        raise StorageError(f"old runs cannot be removed: {error}") from error
    spools = 0 if dry_run else remove_stale_spools()
    return Pruned(runs=sorted(folder.name for folder in runs), locks=locks, spools=spools, dry_run=dry_run)


def list_run(recorded: RecordedRun) -> ListedRun:
    """The entry of a run in the list of runs."""
    header = recorded.header
    if _is_running(recorded):
        state = RunState.RUNNING
    elif any(job.is_unsettled for job in recorded.jobs.values()):
        state = RunState.INTERRUPTED
    else:
        state = RunState.ENDED
    return ListedRun(
        run=header.run,
        task_id=header.task_id,
        server=header.server,
        kind=header.kind,
        function=header.provenance.function,
        started=header.started,
        added=sum(kind != ISSUES for job in recorded.jobs.values() for kind, _ in job.added),
        state=state,
    )


def _is_running(recorded: RecordedRun) -> bool:
    """Whether the current lock on the task or a job is older than the last write to this record."""
    since = locked_since(recorded.header.server, recorded.header.task_id, recorded.jobs)
    return since is not None and since <= recorded.written


def _old_records(before: float) -> Iterator[Path]:
    """The folders of records without a write since `before`, of any version."""
    for folder in sorted(Settings().runs_dir.glob("*/")):
        times = [file.stat().st_mtime for file in folder.glob("*.jsonl")]
        if times and max(times) < before:
            try:
                if _is_running(read_run(folder.name)):
                    continue
            except (RunNotFoundError, StorageError, ValueError):
                pass  # unreadable, so not of a running run of this version
            yield folder


def _remove_locks(before: float, *, dry_run: bool) -> int:
    """Remove old locks that are free, and old notes; return the number of files."""
    folder = locks_folder()
    if not folder.is_dir():
        return 0
    count = 0
    with guard_lock_files(folder):
        for lock in _older(folder.glob("*.lock"), before):
            try:
                with _taken(lock):
                    note = lock.with_suffix(".txt")  # left by a killed holder
                    for file in [note, lock] if note.exists() else [lock]:
                        count += 1
                        if not dry_run:
                            file.unlink()
            except filelock.Timeout:
                continue
        for note in _older(folder.glob("*.sending"), before):
            count += 1
            if not dry_run:
                note.unlink()
    return count


def _older(files: Iterable[Path], before: float) -> list[Path]:
    return sorted(file for file in files if file.stat().st_mtime < before)


def _taken(lock: Path) -> AbstractContextManager[object]:
    is_of_job = "-" in lock.stem
    return lock_job(lock) if is_of_job else lock_task(lock, shared=False)
