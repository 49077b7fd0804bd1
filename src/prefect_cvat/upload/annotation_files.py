"""Stores the annotations of one job in files, so that many do not take memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prefect_cvat.annotations.request_bodies import SerializedAnnotation
from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.spooled_file import MemoryShare, SpooledFile
from prefect_cvat.records.annotation_index import StoredAnnotation, StoredRecords

__all__ = ["LineFile", "NewAnnotation", "NewAnnotationFile", "StoredAnnotationFile"]


class NewAnnotation(NamedTuple):
    """An annotation that the run adds to a job.

    Attributes:
        identity: The digest of its content (`annotations/content_digest.py`).
        body: The annotation as it is sent.
    """

    identity: bytes
    body: SerializedAnnotation


class StoredAnnotationFile:
    """Kinds, ids and identities of annotations on the server, in insertion order.

    Args:
        path: The file.
        share: The memory that it may take instead.
    """

    def __init__(self, path: Path, share: MemoryShare | None = None) -> None:
        self._file = SpooledFile(path, share)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, annotations: Iterable[StoredAnnotation]) -> None:
        """Add all annotations, or none if writing fails.

        Raises:
            StorageError: The file cannot be written.
        """
        records = StoredRecords(StoredRecords.pack(annotations))
        _append(self._file, records.data)
        self._length += len(records)

    def clear(self) -> None:
        """Remove all annotations."""
        self._file.clear()
        self._length = 0

    @property
    def records(self) -> StoredRecords:
        """All annotations, read into memory."""
        return StoredRecords(self._file.read())

    def __iter__(self) -> Iterator[StoredAnnotation]:
        return iter(self.records)


class LineFile:
    """Lines of bytes, in insertion order.

    Args:
        path: The file.
        share: The memory that it may take instead.
    """

    def __init__(self, path: Path, share: MemoryShare | None = None) -> None:
        self._file = SpooledFile(path, share)

    def extend(self, lines: Iterable[bytes]) -> None:
        """Add all lines, or none if writing fails. Lines contain no line breaks.

        Raises:
            StorageError: The file cannot be written.
        """
        _append(self._file, b"".join(line + b"\n" for line in lines))

    def clear(self) -> None:
        """Remove all lines."""
        self._file.clear()

    def __iter__(self) -> Iterator[bytes]:
        return (line[:-1] for line in self._file.lines())


class NewAnnotationFile:
    """Annotations as they are sent, each with the identity of the stored annotation that matches it.

    This is its own identity, or the identity of a shape refined from it (`refined_shapes.py`).

    Args:
        path: The file.
        share: The memory that it may take instead.
    """

    def __init__(self, path: Path, share: MemoryShare | None = None) -> None:
        self._lines = LineFile(path, share)

    def extend(self, annotations: Iterable[tuple[bytes, NewAnnotation]]) -> None:
        """Add annotations, each after the identity of the stored annotation that matches it.

        Raises:
            StorageError: The file cannot be written.
        """
        self._lines.extend(
            b"%b %b %b %d %b"
            % (stored.hex().encode(), own.hex().encode(), body.kind.encode(), body.frame, body.json)
            for stored, (own, body) in annotations
        )

    def find(self, identities: Iterable[bytes]) -> Iterator[NewAnnotation]:
        """The annotations matched by stored annotations with these identities, each of them once."""
        counts: dict[bytes, int] = {}
        for identity in identities:
            key = identity.hex().encode()
            counts[key] = counts.get(key, 0) + 1
        for line in self._lines if counts else ():
            stored, own, kind, frame, json = line.split(b" ", 4)
            if stored not in counts:
                continue
            yield NewAnnotation(
                bytes.fromhex(own.decode()), SerializedAnnotation(kind.decode(), int(frame), json)
            )
            counts[stored] -= 1
            if not counts[stored]:
                del counts[stored]
                if not counts:
                    return

    def identities(self) -> Iterator[bytes]:
        """The identities of all annotations."""
        return (bytes.fromhex(line.split(b" ", 2)[1].decode()) for line in self._lines)


def _append(file: SpooledFile, data: bytes) -> None:
    try:
        file.append(data)
    except OSError as error:
        raise StorageError(f"the annotations of a job cannot be written to {file.path}: {error}") from error
