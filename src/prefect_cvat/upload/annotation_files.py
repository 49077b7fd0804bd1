"""What is known of the annotations of one job, in files: memory is bounded by a job, not by the task."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.exceptions import StorageError
from prefect_cvat.records.annotation_index import Stored, StoredRecords

__all__ = ["NewAnnotationFile", "StoredAnnotationFile"]


class StoredAnnotationFile:
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
        records = StoredRecords(StoredRecords.pack(annotations))
        _append(self._path, records.data)
        self._length += len(records)

    def clear(self) -> None:
        """Forget all that was noted."""
        self._path.unlink(missing_ok=True)
        self._length = 0

    @property
    def records(self) -> StoredRecords:
        """All that was noted, in memory."""
        return StoredRecords(self._path.read_bytes() if self._length else b"")

    def __iter__(self) -> Iterator[Stored]:
        return iter(self.records)


class NewAnnotationFile:
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

    def clear(self) -> None:
        """Forget all that was noted."""
        self._path.unlink(missing_ok=True)

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
