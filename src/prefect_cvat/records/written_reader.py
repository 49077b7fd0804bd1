"""Reads the content of the annotations that runs have written; see `records/written_lines.py`."""

from __future__ import annotations

import gzip
import logging
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.folder_permissions import create_file
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.records.annotation_index import AnnotationIds, IdentityIndex, StoredRecords
from prefect_cvat.records.record_reader import RecordedRun
from prefect_cvat.records.record_writer import ISSUES, AnnotationId, checked_run_id
from prefect_cvat.records.written_lines import SUFFIX, removed_member
from prefect_cvat.settings import Settings

__all__ = ["WrittenAnnotation", "WrittenByRun", "note_removed"]

logger = logging.getLogger(__name__)


class WrittenAnnotation(NamedTuple):
    """An annotation as a run has written it.

    Attributes:
        job_id: The id of its job.
        kind: `tags`, `shapes` or `tracks`.
        id: The id that the server gave it.
        body: The JSON object that was sent.
    """

    job_id: int
    kind: str
    id: int
    body: dict[str, Any]


class WrittenByRun:
    """What a run has written, according to its record. The files are read once, here.

    Args:
        recorded: The record.

    Attributes:
        removed: What this run has replaced, and what `undo` has removed of it.
        frames: The frames that the run has processed; None if it was killed, or of an earlier version.

    Raises:
        StorageError: A file cannot be read.
    """

    def __init__(self, recorded: RecordedRun) -> None:
        self._folder = Settings().runs_dir / checked_run_id(recorded.header.run)
        self._recorded = recorded
        self.removed = AnnotationIds()
        self.frames: NumberRanges | None = None
        for line in self._lines():
            if line.startswith(b"- "):
                _, kind, *ids = line.decode().split()
                self.removed.update((kind, int(number)) for number in ids)
            elif line.startswith(b"frames "):
                frames = NumberRanges.parse(line[7:].decode()) if len(line) > 7 else NumberRanges()
                self.frames = frames if self.frames is None else NumberRanges.of({*self.frames, *frames})

    def annotations(self) -> Iterator[WrittenAnnotation]:
        """The annotations that the run has added and not removed, as far as their content is known."""
        ids = {
            job_id: IdentityIndex(
                StoredRecords(
                    StoredRecords.pack(
                        (kind, number, bytes.fromhex(job.added[kind, number]))
                        for kind, number in job.added
                        if kind != ISSUES
                    )
                )
            )
            for job_id, job in self._recorded.jobs.items()
        }
        for line in self._lines():
            if line.startswith((b"- ", b"frames ")):
                continue
            job, identity, _, json = line.split(b" ", 3)
            key = ids[int(job)].pop(bytes.fromhex(identity.decode())) if int(job) in ids else None
            if key is not None:
                yield WrittenAnnotation(int(job), *key, from_json(json))

    def _lines(self) -> Iterator[bytes]:
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            yield from _read_lines(path)


def note_removed(run: str, removed: Iterable[AnnotationId]) -> None:
    """Note that `undo` has removed annotations of a run: nobody has deleted them as wrong.

    Raises:
        StorageError: It cannot be written to disk.
    """
    path = Settings().runs_dir / checked_run_id(run) / f"{uuid.uuid4().hex}{SUFFIX}"
    try:
        create_file(path)
        path.write_bytes(removed_member(removed))
    except OSError as error:
        raise StorageError(f"what was removed cannot be recorded in {path}: {error}") from error


def _read_lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file."""
    try:
        with gzip.open(path) as file:
            try:
                for line in file:
                    if line.endswith(b"\n"):
                        yield line[:-1]
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                logger.warning("%s is truncated: %s", path, error)
    except OSError as error:
        raise StorageError(f"the record {path} cannot be read: {error}") from error
