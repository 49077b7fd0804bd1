"""What is known of the annotations of one job, in files: memory is bounded by a job, not by the task."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from prefect_cvat.exceptions import StorageError

__all__ = ["AnnotationLog", "BodyLog", "Stored"]

Stored: TypeAlias = tuple[str, int, bytes]
"""An annotation on the server: its kind, its id, its identity."""

_KINDS = ("tags", "shapes", "tracks")
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_RECORD = struct.Struct("<Bq12s")


class AnnotationLog:
    """Annotations on the server, in the order in which they were noted.

    Args:
        path: The file; there is one as soon as something was noted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, annotations: Iterable[Stored]) -> None:
        """Note annotations.

        Raises:
            StorageError: The disk does not take them.
        """
        records = [_RECORD.pack(_CODES[kind], number, identity) for kind, number, identity in annotations]
        _append(self._path, b"".join(records))
        self._length += len(records)

    def __iter__(self) -> Iterator[Stored]:
        if self._length:
            for code, number, identity in _RECORD.iter_unpack(self._path.read_bytes()):
                yield _KINDS[code], number, identity


class BodyLog:
    """Annotations as they are sent, each with the identity by which it is looked for on the server.

    Args:
        path: The file; there is one as soon as something was noted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def extend(self, annotations: Iterable[tuple[bytes, dict[str, Any]]]) -> None:
        """Note annotations.

        Raises:
            StorageError: The disk does not take them.
        """
        lines = [to_json((identity.hex(), body)) + b"\n" for identity, body in annotations]
        _append(self._path, b"".join(lines))

    def __iter__(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        if self._path.exists():
            with self._path.open("rb") as lines:
                for line in lines:
                    identity, body = from_json(line)
                    yield bytes.fromhex(identity), body


def _append(path: Path, data: bytes) -> None:
    if not data:
        return
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        with contextlib.suppress(OSError):  # half a record is none
            os.truncate(path, before)
        raise StorageError(f"what is known of a job cannot be written to {path}: {error}") from error
