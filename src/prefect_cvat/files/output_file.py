"""Writes output files of commands, and checks before a run that they can be written."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.replaced_file import replace_file

__all__ = ["check_writable", "write_text"]

_NOT_REPLACEABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})
"""Errors where a file may be writable, but its folder is not, or the file is mounted."""


def check_writable(file: Path) -> None:
    """Check that a file can be written, without changing or creating it.

    Raises:
        StorageError: It cannot be written; the message says why.
    """
    try:
        why = _why_not(file.resolve())
    except OSError as error:
        why = str(error.strerror)
    if why:
        raise StorageError(f"{str(file)!r} cannot be written: {why}")


def _why_not(place: Path) -> str:
    folder = place.parent
    if place.is_dir():
        return "it is a folder; name a file"
    if not folder.exists():
        return f"there is no folder {str(folder)!r}; make it first"
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    if place.is_file():
        place.open("ab").close()
    elif place.exists():  # a device or a pipe: opening it would have effects
        return "" if os.access(place, os.W_OK) else "permission denied"
    else:
        tempfile.TemporaryFile(dir=folder).close()
    return ""


def write_text(file: Path, text: str) -> None:
    """Write text to a file in UTF-8. It replaces a regular file at once, with its owner and permissions.

    A file that cannot be replaced is written in place: its folder is read-only, a new one would not have
    its owner and group, or it has other names (hard links).

    Raises:
        StorageError: It cannot be written. What was in a regular file before is still there, unless it was
            written in place.
    """
    try:
        if file.exists() and (not file.is_file() or _is_standard_stream(file)):
            file.write_text(text, encoding="utf-8")
            return
        place = file.resolve()
        try:
            replace_file(place, text.encode(), partial(_copy_permissions, place), mode=0o666)
        except OSError as error:
            if error.errno not in _NOT_REPLACEABLE or not place.exists():
                raise
            place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{str(file)!r} cannot be written: {error.strerror}") from error


def _is_standard_stream(file: Path) -> bool:
    """Whether standard output or standard error goes to a file, which is to stay the same one."""
    for descriptor in (1, 2):
        with suppress(OSError):  # closed
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return True
    return False


def _copy_permissions(old: Path, new: Path) -> None:
    """Give a file the owner, the group and the permissions of the one that it replaces.

    Raises:
        PermissionError: The owner or the group cannot be kept, or the old file has other names.
    """
    try:
        found = old.stat()
    except FileNotFoundError:
        return
    if found.st_nlink > 1:
        raise PermissionError(errno.EPERM, "it has other names", str(old))
    os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))
