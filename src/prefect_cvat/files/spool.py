"""Temporary folders, and removal of those that killed processes have left behind.

A folder is locked as long as its process lives. If the lock is free, the process was killed or the machine
went down.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from prefect_cvat.exceptions import StorageError

__all__ = ["remove_stale_spools", "spool_folder"]

PREFIX = "prefect-cvat-spool-"
LOCK = ".lock"

UNLOCKED_SECONDS = 3600.0
"""Seconds after which an empty folder without a lock file is stale: its process died before creating it."""

SECONDS_BETWEEN_REMOVALS = 60.0
"""How often a process looks for stale folders, at the most: each time it tries the locks of all folders."""

_last_removals: dict[str, float] = {}
"""When this process last looked for stale folders, by the folder that they are in."""

MAX_ATTEMPTS = 20
"""How often another process may remove a new folder as stale before it is locked."""


@contextmanager
def spool_folder() -> Iterator[Path]:
    """Create a folder that only this user can read, and remove it at the end.

    Stale folders are removed first, unless this process has looked for them within the last minute.

    Raises:
        StorageError: It cannot be created.
    """
    _remove_stale_spools_now_and_then()
    try:
        folder, lock = _make_locked_folder()
    except OSError as error:
        raise StorageError(
            f"no temporary folder can be created in {tempfile.gettempdir()}: {error}; make room there, or set"
            " TMPDIR to another folder"
        ) from error
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _make_locked_folder() -> tuple[Path, filelock.BaseFileLock]:
    """Create a folder and lock it; start again if another process removes it as stale."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = filelock.FileLock(folder / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
            if (folder / LOCK).exists():
                return folder, lock
            lock.release()
        except (filelock.Timeout, FileNotFoundError):
            if attempt == MAX_ATTEMPTS:
                raise
    raise FileNotFoundError(f"{folder} was removed by another process")


def _remove_stale_spools_now_and_then() -> None:
    folder, now = tempfile.gettempdir(), time.monotonic()
    if now - _last_removals.get(folder, -math.inf) >= SECONDS_BETWEEN_REMOVALS:
        _last_removals[folder] = now
        remove_stale_spools()


def remove_stale_spools() -> int:
    """Remove the folders of killed processes of this user; return their number."""
    return sum(map(_remove_if_stale, Path(tempfile.gettempdir()).glob(f"{PREFIX}*")))


def _remove_if_stale(folder: Path) -> bool:
    try:
        found = folder.lstat()
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            return False  # also a symbolic link of another user
        if not (folder / LOCK).exists():
            if time.time() - found.st_mtime > UNLOCKED_SECONDS:
                folder.rmdir()  # fails unless it is empty
                return True
            return False
        with filelock.FileLock(folder / LOCK).acquire(timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # it is in use, or another process has just removed it
        return False
    return not folder.exists()
