"""Reads the records of runs; see `records/record_writer.py` for the format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from prefect_cvat.exceptions import RunNotFoundError, StorageError
from prefect_cvat.records.annotation_index import AnnotationIds, StoredMap
from prefect_cvat.records.record_writer import (
    FORMAT,
    ISSUES,
    REPORT,
    AnnotationId,
    RecordHeader,
    checked_run_id,
)
from prefect_cvat.settings import Settings

__all__ = ["RecordedJob", "RecordedRun", "find_run", "read_reports", "read_run", "recorded_runs"]

logger = logging.getLogger(__name__)

SHORTEST_PREFIX = 8
"""Minimum length of an abbreviated run id."""


class RecordedAnnotations(Mapping[AnnotationId, str]):
    """The annotations that a run has added to a job: identities by kind and id, about 50 bytes each."""

    def __init__(self) -> None:
        self._ids = AnnotationIds()
        self._identities = StoredMap()

    def take(self, kind: str, pairs: Iterable[tuple[int, str]]) -> list[str]:
        """Add ids with identities; return the identities of new ids."""
        new = [pair for pair in dict(reversed(list(pairs))).items() if (kind, pair[0]) not in self._ids]
        self._identities.update((kind, number, bytes.fromhex(identity)) for number, identity in new)
        self._ids.update((kind, number) for number, _ in new)
        return [identity for _, identity in new]

    def remove(self, kind: str, numbers: Iterable[int]) -> None:
        """Remove ids, if they are contained."""
        for number in numbers:
            self._ids.discard((kind, number))

    def merge(self, other: RecordedAnnotations) -> None:
        """Add the annotations of another process."""
        self._identities.update((*key, other._identities.index[key]) for key in other)
        self._ids.update(other)

    def __getitem__(self, key: AnnotationId) -> str:
        if key not in self._ids:
            raise KeyError(key)
        return self._identities.index[key].hex()

    def __contains__(self, key: object) -> bool:
        return key in self._ids

    def __iter__(self) -> Iterator[AnnotationId]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


@dataclass
class RecordedJob:
    """The effects of a run on a job, according to its record.

    Attributes:
        added: Annotations that the run has added and not removed: identities by kind and id.
        unsettled: Identities of annotations in requests of unknown outcome.
        after: The highest known ids before these requests, by kind.
        may_have_issues: Whether the run has tried to open issues in the job.
        replaced: Number of existing annotations that the run has removed.
    """

    added: RecordedAnnotations = field(default_factory=RecordedAnnotations)
    unsettled: Counter[str] = field(default_factory=Counter)
    after: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    may_have_issues: bool = False

    def take(self, line: _Line) -> None:
        """Apply a line of the record."""
        if line.sent:
            self.may_have_issues |= ISSUES in line.after
            self._know(line.after, is_first=not self.is_unsettled)
            self.unsettled.update(line.sent)
        for added_kind, pairs in line.added.items():
            for identity in self.added.take(added_kind, pairs):
                if self.unsettled[identity] > 1:
                    self.unsettled[identity] -= 1
                else:
                    del self.unsettled[identity]
        for kind, ids in line.removed.items():
            self.added.remove(kind, ids)
        if line.settled:
            self.unsettled.clear()
        self.replaced += line.replaced

    @property
    def is_unsettled(self) -> bool:
        """Whether a request has an unknown outcome."""
        return bool(self.unsettled)

    def merge(self, other: RecordedJob) -> None:
        """Add the effects of another process of the run."""
        self.added.merge(other.added)
        if other.is_unsettled:
            self._know(other.after, is_first=not self.is_unsettled)
        self.unsettled += other.unsettled  # keeps positive counts
        self.may_have_issues |= other.may_have_issues
        self.replaced += other.replaced

    def _know(self, after: Mapping[str, int], *, is_first: bool) -> None:
        for kind, annotation_id in after.items():
            before = annotation_id if is_first else self.after.get(kind, annotation_id)
            self.after[kind] = min(annotation_id, before)


@dataclass(frozen=True)
class RecordedRun:
    """The record of a run.

    Attributes:
        header: The header.
        jobs: The effects of the run, by job id.
        written: The time (`time.time`) of the last write to the record.
    """

    header: RecordHeader
    jobs: dict[int, RecordedJob]
    written: float


_Kind = Literal["tags", "shapes", "tracks", "issues"]
_Id = Annotated[int, Field(gt=-(2**63), lt=2**63)]
_Identity = Annotated[str, Field(pattern="^[0-9a-f]{24}$")]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    job: int
    after: dict[str, int] = {}
    sent: list[str] = []
    added: dict[_Kind, list[tuple[_Id, _Identity]]] = {}
    removed: dict[str, list[int]] = {}
    settled: bool = False
    replaced: int = 0


def find_run(run: str | Path) -> str:
    """Find the full id of a recorded run.

    Args:
        run: The id, at least its first eight characters, or the path of the run's report.

    Raises:
        RunNotFoundError: There is no record of the run.
        ValueError: Several runs match, or the file is not a report.
    """
    path = Path(run)
    with suppress(OSError):  # not a valid path, such as a name that is too long
        if path.is_file():
            run = _run_of_report(path)
    name = str(run)
    folder = Settings().runs_dir
    names = [found.name for found in folder.glob("*/")]
    if name in names:
        return name
    if len(name) < SHORTEST_PREFIX:
        raise ValueError(
            f"{name!r} is too short for a run id: give at least {SHORTEST_PREFIX} characters of it"
        )
    matching = sorted(other for other in names if other.startswith(name))
    if len(matching) > 1:
        raise ValueError(f"{name!r} matches {len(matching)} runs: {', '.join(matching[:5])}")
    if not matching:
        raise RunNotFoundError(
            f"there is no record of a run {name!r} in {folder}. The run has added nothing, its record has"
            " been removed with `prefect-cvat runs prune`, or its record is on the machine where it ran (set"
            " PREFECT_CVAT_RUNS_DIR to shared storage)"
        )
    return matching[0]


def read_run(run: str) -> RecordedRun:
    """Read the record of a run.

    Raises:
        RunNotFoundError: The record is empty.
        StorageError: The record cannot be read.
    """
    header: RecordHeader | None = None
    jobs: dict[int, RecordedJob] = {}
    written = 0.0
    for path in sorted((Settings().runs_dir / checked_run_id(run)).glob("*.jsonl")):
        lines = _read_lines(path)
        first = next(lines, b"")
        if (number := _format_of(first)) not in (None, FORMAT):
            raise StorageError(
                f"{path} was written by another version of prefect-cvat (format {number}; this one reads"
                f" format {FORMAT}); undo the run with the version that made it"
            )
        of_file = _read_header(path, first)
        if of_file is None:
            continue  # truncated before anything was sent
        header = header or of_file
        written = max(written, path.stat().st_mtime)
        in_file: dict[int, RecordedJob] = {}
        for line in lines:
            try:
                record = _Line.model_validate_json(line)
            except ValidationError:
                logger.warning("%s: a line is truncated", path)
                continue
            in_file.setdefault(record.job, RecordedJob()).take(record)
        for job_id, job in in_file.items():
            if job_id in jobs:
                jobs[job_id].merge(job)
            else:
                jobs[job_id] = job
    if header is None:
        raise RunNotFoundError(f"the record of run {run!r} in {Settings().runs_dir} is empty")
    return RecordedRun(header, jobs, written)


def read_reports(run: str) -> list[str]:
    """The reports of the processes of a run, as JSON; none of a process that was killed.

    Raises:
        StorageError: A report cannot be read.
    """
    paths = sorted((Settings().runs_dir / checked_run_id(run)).glob(f"*{REPORT}"))
    try:
        return [path.read_text(encoding="utf-8") for path in paths]
    except OSError as error:
        raise StorageError(f"the report of run {run!r} cannot be read: {error}") from error


def recorded_runs() -> list[RecordHeader]:
    """The headers of all records, newest first."""
    headers: dict[str, RecordHeader] = {}
    for path in Settings().runs_dir.glob("*/*.jsonl"):
        if path.parent.name not in headers and (header := _read_header(path, next(_read_lines(path), b""))):
            headers[path.parent.name] = header
    return sorted(headers.values(), key=lambda header: header.started, reverse=True)


def _read_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise StorageError(f"the record {path} cannot be read: {error}") from error


def _read_header(path: Path, line: bytes) -> RecordHeader | None:
    if (number := _format_of(line)) not in (None, FORMAT):
        logger.info("%s has format %s and is skipped", path, number)
        return None
    try:
        return RecordHeader.model_validate_json(line)
    except ValidationError:
        logger.warning("%s does not begin with the header of a record", path)
        return None


def _format_of(line: bytes) -> object:
    """The format in the first line of a record, or None."""
    try:
        record = from_json(line)
    except ValueError:
        return None
    return record.get("format") if isinstance(record, dict) else None


def _run_of_report(path: Path) -> str:
    """The run id in the file of a report or a record."""
    try:
        run = from_json(next(_read_lines(path), b"") if path.suffix == ".jsonl" else path.read_bytes())["run"]
    except (OSError, ValueError, TypeError, KeyError):
        run = None
    if not isinstance(run, str) or not run:
        raise ValueError(f"{path} is neither the report nor the record of a run")
    return run
