"""The folder of a dataset: it is there when all of it is.

Until then it lies in a hidden folder beside its place, with a lock that its process holds. What a process has
left there that was killed is removed by the next export to the same place.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from prefect_cvat.exceptions import PrefectCvatError, StorageError

__all__ = ["check_free", "written_whole"]

LOCK = "prefect-cvat.lock"
"""Lies beside a dataset that is being written; it is held as long as its process lives."""


def check_free(folder: Path) -> None:
    """See to it that nothing is overwritten.

    Raises:
        StorageError: The place cannot be looked at.
        ValueError: There is something at this place already.
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
def written_whole(folder: Path) -> Iterator[Path]:
    """A new folder to write to; when the block ends, it is moved to where it belongs, and else removed.

    Args:
        folder: Where it belongs. It does not exist, or is empty.

    Raises:
        ValueError: There is something at this place already.
        StorageError: The disk does not take it.
    """
    check_free(folder)
    temporary: Path | None = None
    lock: filelock.BaseFileLock | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        # beside its place, so that moving it there is a renaming, which happens whole or not at all
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        lock = _lock(temporary)
        # one in it, because that of mkdtemp is for this user only
        part = temporary / folder.name
        part.mkdir()
        yield part
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except PrefectCvatError:  # some are errors of the operating system too
        raise
    except OSError as error:
        raise StorageError(f"the dataset cannot be written to {str(folder)!r}: {error}") from error
    finally:
        if lock is not None:
            lock.release()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _lock(hidden: Path) -> filelock.BaseFileLock:
    """Say that a folder is being written to. Only then may the dataset's own folder be made in it."""
    lock = filelock.FileLock(hidden / LOCK)
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):  # a file system without locks: there, leftovers are not known
        (hidden / LOCK).unlink(missing_ok=True)
    return lock


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes have left that were killed while they wrote to the same place."""
    for hidden in folder.parent.iterdir():
        if hidden.name.startswith(f".{folder.name}.") and _is_leftover(hidden, folder.name):
            shutil.rmtree(hidden, ignore_errors=True)


def _is_leftover(hidden: Path, name: str) -> bool:
    """Whether a folder is one of ours, and the process is gone that wrote to it.

    The dataset's own folder is made when the lock is held: where both are, and nobody holds it, he is gone.
    """
    try:
        if hidden.is_symlink() or {path.name for path in hidden.iterdir()} != {LOCK, name}:
            return False
        with filelock.FileLock(hidden / LOCK).acquire(timeout=0):
            return True
    except (OSError, NotImplementedError):  # held, no folder, of another user, or there are no locks
        return False
