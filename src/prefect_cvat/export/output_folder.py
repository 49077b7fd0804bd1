"""Writes the folder of a dataset completely or not at all.

Until it is complete, the dataset is in a hidden folder in the same parent folder, with a lock file that the
process holds. If a process was killed, the next export to the same folder removes what it left.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from prefect_cvat.exceptions import PrefectCvatError, StorageError

__all__ = ["atomic_folder", "check_output_folder"]

LOCK = "prefect-cvat.lock"
"""The lock file in the hidden folder. The process that writes the dataset holds the lock."""


def check_output_folder(folder: Path) -> None:
    """Check that a folder does not exist or is empty.

    Raises:
        StorageError: The folder cannot be read.
        ValueError: It is not empty, or is not a folder.
    """
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            return
        if not (folder.exists() or folder.is_symlink()):
            return
        what = "is not empty" if folder.is_dir() else "is not a folder"
    except OSError as error:
        raise StorageError(f"the dataset cannot be written to {str(folder)!r}: {error.strerror}") from error
    raise ValueError(
        f"{str(folder)!r} {what}; nothing is overwritten: name a folder that does not exist, or remove it"
    )


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder to write to. It is renamed to `folder` if the block succeeds, and removed otherwise.

    Args:
        folder: The final folder. It does not exist or is empty.

    Raises:
        ValueError: `folder` is not empty, or is not a folder.
        StorageError: The folder cannot be written.
    """
    check_output_folder(folder)
    temporary: Path | None = None
    lock: filelock.BaseFileLock | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        # in the same file system, so that it can be renamed atomically
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        lock = _lock(temporary)
        # a subfolder, because the folder of mkdtemp is accessible to this user only
        part = temporary / folder.name
        part.mkdir()
        yield part
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except PrefectCvatError:  # some are also OSErrors
        raise
    except OSError as error:
        raise StorageError(f"the dataset cannot be written to {str(folder)!r}: {error}") from error
    finally:
        if lock is not None:
            lock.release()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _lock(hidden: Path) -> filelock.BaseFileLock:
    """Lock the hidden folder. The dataset's subfolder is created only when the lock is held."""
    lock = filelock.FileLock(hidden / LOCK)
    try:
        lock.acquire(timeout=0)
    except (
        OSError,
        NotImplementedError,
    ):  # without locks, leftovers cannot be recognized
        (hidden / LOCK).unlink(missing_ok=True)
    return lock


def _remove_leftovers(folder: Path) -> None:
    """Remove the hidden folders of killed processes that wrote to the same folder."""
    for hidden in folder.parent.iterdir():
        if hidden.name.startswith(f".{folder.name}.") and _is_leftover(hidden, folder.name):
            shutil.rmtree(hidden, ignore_errors=True)


def _is_leftover(hidden: Path, name: str) -> bool:
    """Whether a folder is a hidden folder of an export whose process has ended.

    The dataset's subfolder is created when the lock is held. So if both exist and the lock is free, the
    process has ended.
    """
    try:
        if hidden.is_symlink() or {path.name for path in hidden.iterdir()} != {LOCK, name}:
            return False
        with filelock.FileLock(hidden / LOCK).acquire(timeout=0):
            return True
    except (OSError, NotImplementedError):  # locked, not a folder, owned by another user, or no locks
        return False
