"""Reads the content of the annotations that runs have written; see `records/written_lines.py`."""

from __future__ import annotations

import gzip
import logging
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.folder_permissions import create_file
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.records.annotation_index import AnnotationIds, IdentityIndex, StoredRecords
from prefect_cvat.records.record_reader import RecordedRun
from prefect_cvat.records.record_writer import ISSUES, AnnotationId, checked_run_id
from prefect_cvat.records.written_lines import FRAMES, REMOVED, SUFFIX, removed_member
from prefect_cvat.settings import Settings

__all__ = ["WrittenAnnotation", "WrittenByRun", "note_removed"]

logger = logging.getLogger(__name__)

MAX_LINE = 2**28
"""Maximum length of a line in bytes, far beyond a track with a keyframe on each frame of a long video."""

IDENTITY_BYTES = 12
"""Length of an identity (`annotations/content_digest.py`)."""

NOTES = (REMOVED, FRAMES)
"""The beginnings of lines without annotations."""


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
    """What a run has written, according to its record.

    Args:
        recorded: The record.

    Attributes:
        removed: What this run has replaced, and what `undo` has removed of it.
        frames: The frames that the run has processed; None if it was killed, or of an earlier version.
        has_content: Whether the content of what it wrote is recorded; not by earlier versions.

    Raises:
        StorageError: A file cannot be read.
    """

    def __init__(self, recorded: RecordedRun) -> None:
        self._folder = Settings().runs_dir / checked_run_id(recorded.header.run)
        self._recorded = recorded
        self.removed = AnnotationIds()
        self.frames: NumberRanges | None = None
        self.has_content = any(  # `undo` notes in files without a record
            path.with_name(path.name.removesuffix(SUFFIX) + ".jsonl").exists()
            for path in self._folder.glob(f"*{SUFFIX}")
        )
        for _ in self._lines(self._take_note):
            pass

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

        def read(line: bytes) -> WrittenAnnotation | None:
            if line.startswith(NOTES):
                return None
            job, identity, _, json = line.split(b" ", 3)
            digest = bytes.fromhex(identity.decode())
            if len(digest) != IDENTITY_BYTES:
                raise ValueError("it has no identity")
            key = ids[int(job)].pop(digest) if int(job) in ids else None
            return None if key is None else WrittenAnnotation(int(job), *key, _checked(from_json(json)))

        return self._lines(read)

    def _take_note(self, line: bytes) -> None:
        if line.startswith(REMOVED):
            _, kind, *ids = line.decode().split()
            self.removed.update((kind, int(number)) for number in ids)
        elif line.startswith(FRAMES) and line != FRAMES:
            frames = NumberRanges.parse(line.removeprefix(FRAMES).decode())
            self.frames = frames if self.frames is None else NumberRanges.of({*self.frames, *frames})

    def _lines(self, read: Callable[[bytes], WrittenAnnotation | None]) -> Iterator[WrittenAnnotation]:
        """What is read of each line; a damaged one is left out with a warning."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            for line in _read_lines(path):
                try:
                    found = read(line)
                except ValueError as error:
                    logger.warning("%s: a line is damaged: %s", path, error)
                    continue
                if found is not None:
                    yield found


def _checked(body: Any) -> dict[str, Any]:
    """The JSON object of an annotation.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(body, dict) or not all(type(body.get(key)) is int for key in ("frame", "label_id")):
        raise ValueError("it has no annotation")
    return body


def note_removed(run: str, removed: Iterable[AnnotationId]) -> None:
    """Note that `undo` removes annotations of a run: nobody has deleted them as wrong.

    It is noted before the request. One that is still there afterwards is not removed, whatever is noted.

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
    """The complete lines of a file.

    Raises:
        StorageError: It cannot be read, or a line is longer than `MAX_LINE`.
    """
    try:
        with gzip.open(path) as file:
            try:
                while (line := file.readline(MAX_LINE)).endswith(b"\n"):
                    yield line[:-1]
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                logger.warning("%s is truncated: %s", path, error)
                return
    except OSError as error:
        raise StorageError(f"the record {path} cannot be read: {error}") from error
    if line:
        raise StorageError(f"the record {path} cannot be read: a line has more than {MAX_LINE} bytes")
