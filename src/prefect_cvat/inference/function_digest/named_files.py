"""A digest of the files and folders that the parameters of a function name, such as weights."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError

__all__ = ["changes_results", "digests_of_named_files"]

_HOW_IT_RUNS = frozenset({"device", "batch_size", "cache_dir", "token", "local_files_only"})
"""Parameters that do not change what a function finds."""

_TEXTS = frozenset({"task_labels", "labels", "prompts"})
"""Parameters with words: one that is also the name of a folder does not mean the folder."""


def changes_results(name: str) -> bool:
    """Whether a parameter may change what a function finds, unlike `device`.

    Args:
        name: The name of the parameter; `NAME.PARAMETER` for a member of an ensemble.
    """
    return _own_name(name) not in _HOW_IT_RUNS


def digests_of_named_files(parameters: Any) -> list[str]:
    """The content of each file that parameters name, and of all files in each folder that they name.

    The digests do not depend on where files and folders are, or when they were written. Parameters that do
    not change results are left out, and folders with the name of a label or a prompt.

    Args:
        parameters: Values that may be paths, also in mappings and sequences, as of functions that make
            others.

    Returns:
        Lines with the place of a file in its folder, and its SHA-256; and for a further name of a folder,
        which only links can make, its first name. Empty if no files are named.

    Raises:
        UnknownCodeError: A file cannot be read.
    """
    try:
        return [line for path in _named(parameters) for line in _lines(path)]
    except OSError as error:
        raise UnknownCodeError(f"the file {error.filename}, which cannot be read") from error


def _own_name(name: str) -> str:
    return name.rpartition(".")[2]


def _named(value: Any, *, with_folders: bool = True) -> Iterator[Path]:
    if isinstance(value, str):
        path = Path(value)
        # not "" or ".", which name where the process was started
        if path.name and (_is(Path.is_file, path) or (with_folders and _is(Path.is_dir, path))):
            yield path
    elif isinstance(value, Mapping):
        for name in sorted(value):
            if changes_results(name):
                is_text = _own_name(name) in _TEXTS
                yield from _named(value[name], with_folders=with_folders and not is_text)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _named(item, with_folders=with_folders)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):  # such as a text that is too long for a name
        return False


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, or of a folder and all folders in it, also linked ones; each is read once."""
    if not path.is_dir():
        yield f". {_sha256_of(path)}"
        return
    names: dict[Path, str] = {}
    for folder, folders, files in os.walk(path, followlinks=True):
        place = Path(folder).relative_to(path).as_posix()
        if (first := names.setdefault(Path(folder).resolve(), place)) != place:
            yield f"{place}/ is {first}/"
            folders.clear()
            continue
        folders.sort()
        for file in (Path(folder, name) for name in sorted(files)):
            if file.is_file():
                yield f"{file.relative_to(path).as_posix()} {_sha256_of(file)}"


def _sha256_of(file: Path) -> str:
    status = file.stat()
    return _sha256(file.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _sha256(file: Path, _size: int, _modified: int) -> str:
    """The digest of a file, read again only if it has changed: weights have gigabytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
