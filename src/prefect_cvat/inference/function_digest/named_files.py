"""A digest of the files and folders that the parameters of a function name, such as weights."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError

__all__ = ["digests_of_named_files"]

NO_FILES = frozenset({"cache_dir", "token", "task_labels", "labels", "prompts", "device"})
"""Parameters with strings that are no files, or files that do not change what is found."""


def digests_of_named_files(parameters: Any) -> list[str]:
    """The content of each file that parameters name, and of all files in each folder that they name.

    The digests do not depend on where files and folders are, or when they were written. Parameters in
    `NO_FILES` are left out.

    Args:
        parameters: Values that may be paths, also in mappings and sequences, as of functions that make
            others.

    Returns:
        Lines with the place of a file in its folder, and its SHA-256. Empty if no files are named.

    Raises:
        UnknownCodeError: A file cannot be read.
    """
    lines = []
    for path in _named(parameters):
        try:
            for file in _files(path):
                status = file.stat()
                place = file.relative_to(path).as_posix()
                lines.append(f"{place} {_sha256(file.resolve(), status.st_size, status.st_mtime_ns)}")
        except OSError as error:
            raise UnknownCodeError(f"the file {error.filename}, which cannot be read") from error
    return lines


def _named(value: Any) -> Iterator[Path]:
    if isinstance(value, str):
        path = Path(value)
        if path.name and _is_file_or_folder(path):  # not "" or ".", which name where the process was started
            yield path
    elif isinstance(value, Mapping):
        for name in sorted(value):
            if name.rpartition(".")[2] not in NO_FILES:  # ensemble: NAME.PARAMETER
                yield from _named(value[name])
    elif isinstance(value, Sequence):
        for item in value:
            yield from _named(item)


def _is_file_or_folder(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):  # such as a text that is too long for a name
        return False


def _files(path: Path) -> list[Path]:
    """The files of a folder and of folders in it, also of linked ones, sorted; or the file itself."""
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    seen: set[Path] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        if (real := Path(folder).resolve()) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        found += (file for name in names if (file := Path(folder, name)).is_file())
    return sorted(found)


@functools.lru_cache(maxsize=1024)
def _sha256(file: Path, _size: int, _modified: int) -> str:
    """The digest of a file, read again only if it has changed: weights have gigabytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
