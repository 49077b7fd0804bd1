"""Writes output files of commands, and checks before a run that they can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from prefect_cvat.exceptions import StorageError

__all__ = ["check_writable", "write_text"]


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
    """Write text to a file in UTF-8.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{str(file)!r} cannot be written: {error.strerror}") from error
