"""Writes the records of runs, which `undo` reads: the annotations and issues that a run has added.

The record of a run is a folder named by the run id. Each process of the run (a shard, or a second attempt)
writes a file of JSON lines. The first line is the header: the run and the provenance of its annotations. Each
other line concerns one job, and annotations or issues in it::

    {"job":7,"after":{"shapes":120},"sent":["4f0c...","91ab..."]}
    {"job":7,"added":{"shapes":[[121,"4f0c..."],[122,"91ab..."]]}}
    {"job":7,"after":{"issues":30},"sent":["c27e..."]}
    {"job":7,"added":{"issues":[[31,"c27e..."]]}}

The identities are written before a request is sent (`sent`), and the ids after the server has answered
(`added`). So the record is complete wherever the run is interrupted: an annotation of a request of unknown
outcome is recognized by its identity and by an id higher than all known before (`after`).

`removed` and `replaced` record deletions; `settled` means that no request can still be executed.

A truncated line is ignored: either nothing had been sent, or `sent` has no matching `added`.

Beside it is a file with the content of the annotations, see `records/written_lines.py`.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from prefect_cvat.annotations.request_bodies import SerializedAnnotation
from prefect_cvat.cvat.task_identity import TaskIdentity
from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.folder_permissions import create_file, make_folder
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.records.written_lines import SUFFIX, frames_member, removed_member, written_member
from prefect_cvat.settings import current_settings

__all__ = [
    "FORMAT",
    "ISSUES",
    "REPORT",
    "AnnotationId",
    "JobRecord",
    "RecordHeader",
    "RunRecord",
    "checked_run_id",
]

FORMAT = 2
"""Incremented when older records can no longer be read."""

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")

REPORT = ".report.json"
"""The suffix of the report of a process, beside its file of the record."""

ISSUES = "issues"
"""The kind of issues in a record."""

AnnotationId: TypeAlias = tuple[str, int]
"""A kind (`tags`, `shapes`, `tracks` or `ISSUES`), and the server's id, which is unique within the kind."""


class RecordHeader(BaseModel):
    """The first line of a record: the run, its kind, its task, and the provenance of its annotations."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    run: str
    kind: str | None = None
    server: str
    task_id: int
    task: TaskIdentity
    started: datetime
    provenance: Provenance


class JobRecord:
    """Records what a run does to a job.

    Args:
        job_id: The id of the job.
        record: The record of the run; None records nothing.
    """

    def __init__(self, job_id: int, record: RunRecord | None = None) -> None:
        self._job_id = job_id
        self._record = record
        self._is_unsettled = False

    def sending_annotations(
        self, annotations: Sequence[tuple[bytes, SerializedAnnotation]], after: Mapping[str, int]
    ) -> None:
        """Record annotations, with their content, before they are sent.

        Args:
            annotations: The annotations, each after its identity.
            after: The highest known id of each kind; new annotations get higher ids.
        """
        if self._record is not None:
            self._record.append_content(written_member(self._job_id, annotations))
        self.sending((identity for identity, _ in annotations), after)

    def sending(self, identities: Iterable[bytes], after: Mapping[str, int]) -> None:
        """Record annotations, or an issue, before they are sent.

        Args:
            identities: The identities of the annotations or the issue.
            after: The highest known id of each kind; new annotations get higher ids.
        """
        self._write(after=dict(after), sent=[identity.hex() for identity in identities])
        self._is_unsettled = True

    def added(self, added: Iterable[tuple[str, int, bytes]]) -> None:
        """Record annotations, or an issue, that the server has stored: kinds, ids and identities."""
        by_kind: dict[str, list[tuple[int, str]]] = {}
        for kind, annotation_id, identity in added:
            by_kind.setdefault(kind, []).append((annotation_id, identity.hex()))
        if by_kind:
            self._write(added=by_kind)

    def settled(self) -> None:
        """Record that no request can still be executed."""
        if self._is_unsettled:
            self._write(settled=True)
            self._is_unsettled = False

    def removed(self, removed: Iterable[AnnotationId]) -> None:
        """Record that the run has removed annotations that it had added."""
        by_kind: dict[str, list[int]] = {}
        for kind, annotation_id in removed:
            by_kind.setdefault(kind, []).append(annotation_id)
        if by_kind:
            self._write(removed=by_kind)

    def replaced(self, replaced: Collection[AnnotationId]) -> None:
        """Record existing annotations that the run has removed."""
        if self._record is not None:
            self._record.append_content(removed_member(replaced))
        self._write(replaced=len(replaced))

    def _write(self, **what: object) -> None:
        if self._record is not None:
            self._record.append({"job": self._job_id, **what})


class RunRecord:
    """The record of a run that this process writes. The file is created with the first line.

    Args:
        header: Returns the first line.
    """

    def __init__(self, header: Callable[[], RecordHeader]) -> None:
        self._header = header
        self._path: Path | None = None
        self._last: Path | None = None
        self._lock = threading.Lock()

    def of_job(self, job_id: int) -> JobRecord:
        """The record of one job."""
        return JobRecord(job_id, self)

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            StorageError: The line cannot be written to disk.
        """
        self._append(to_json(line) + b"\n")

    def append_content(self, member: bytes) -> None:
        """Append a member to the file with the content of annotations (`records/written_lines.py`).

        Raises:
            StorageError: It cannot be written to disk.
        """
        self._append(member, SUFFIX)

    def _append(self, data: bytes, suffix: str = ".jsonl") -> None:
        with self._lock:
            try:
                if self._path is None:
                    self._path = self._new_file()
                path = self._path.with_suffix(suffix)
                create_file(path)
                with path.open("ab") as file:
                    file.write(data)
            except OSError as error:
                self._path = None  # what is truncated must be the last of its file
                raise StorageError(
                    f"the run cannot be recorded in {current_settings().runs_dir}: {error}; set"
                    " PREFECT_CVAT_RUNS_DIR to a writable folder"
                ) from error

    def write_report(self, report: str, frames: Iterable[int]) -> None:
        """Store the report of the run beside its record, if it has one; a former report is replaced.

        Args:
            report: The report, as JSON.
            frames: The frames that the run has processed.

        Raises:
            StorageError: The file cannot be written.
        """
        if self._last is not None:
            self.append_content(frames_member(frames))
        with self._lock:
            if self._last is None:
                return
            path = self._last.with_suffix(REPORT)
            try:
                create_file(path)
                path.write_text(report, encoding="utf-8")
            except OSError as error:
                raise StorageError(f"the report {path} cannot be written: {error}") from error

    def _new_file(self) -> Path:
        header = self._header()
        folder = current_settings().runs_dir / checked_run_id(header.run)
        make_folder(folder, within=current_settings().runs_dir)
        path = folder / f"{uuid.uuid4().hex}.jsonl"
        create_file(path)
        path.write_bytes(header.model_dump_json().encode() + b"\n")
        self._last = path
        return path


def checked_run_id(run: str) -> str:
    """Return a run id if it is a valid folder name.

    Raises:
        ValueError: It is not a valid folder name.
    """
    if not _RUN_ID.fullmatch(run):
        raise ValueError(f"a run id has only letters, digits, '-' and '_', not {run!r}")
    return run
