"""What runs have added to a server, on disk: the records that `undo` goes by.

The record of a run is a folder with its id for a name. Each process of the run (a shard of it, or a second
attempt) writes a file of JSON lines there. The first line says which run it is, and what made its
annotations; each other line is about one job, and about annotations or issues in it::

    {"job":7,"after":{"shapes":120},"sent":["4f0c...","91ab..."]}
    {"job":7,"added":{"shapes":[[121,"4f0c..."],[122,"91ab..."]]}}
    {"job":7,"after":{"issues":30},"sent":["c27e..."]}
    {"job":7,"added":{"issues":[[31,"c27e..."]]}}

What is about to be sent is written down before, by its identities, and once more with its ids when it has
arrived. So a record is never behind the server, wherever its run may break off: what was sent, and is not
known to have arrived, is known by what it says and by an id above all that were known before (`after`).

Lines with `removed`, `replaced` and `settled` say what was taken away, and that nothing can arrive any more.

A line that was cut short says nothing. Then nothing was sent yet, or `sent` stands without its `added`.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from prefect_cvat.cvat.task_identity import TaskIdentity
from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.folder_permissions import create_file, make_folder
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.settings import Settings

__all__ = [
    "FORMAT",
    "ISSUES",
    "AnnotationId",
    "JobRecord",
    "RecordHeader",
    "RunRecord",
    "checked_run_id",
]

FORMAT = 2
"""Changes when files of before can no longer be read."""

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")

ISSUES = "issues"
"""The kind that issues have in a record."""

AnnotationId: TypeAlias = tuple[str, int]
"""`tags`, `shapes` or `tracks` (or `ISSUES`), and the server's id, which is unique among these only."""


class RecordHeader(BaseModel):
    """The first line of a record: the run, its kind, its task, and what made its annotations."""

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
    """Writes down what a run does to a job.

    Args:
        job_id: The job.
        append: Takes a line; without it, nothing is kept.
    """

    def __init__(self, job_id: int, append: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._job_id = job_id
        self._append = append
        self._is_unsettled = False

    def sending(self, identities: Iterable[bytes], after: Mapping[str, int]) -> None:
        """Annotations, or an issue, are about to be sent.

        Args:
            identities: What they say.
            after: The highest id of each kind that is known by now: what arrives has a higher one.
        """
        self._write(after=dict(after), sent=[identity.hex() for identity in identities])
        self._is_unsettled = True

    def added(self, added: Iterable[tuple[str, int, bytes]]) -> None:
        """Annotations, or an issue, have arrived: kinds, ids, identities as they are stored."""
        by_kind: dict[str, list[tuple[int, str]]] = {}
        for kind, annotation_id, identity in added:
            by_kind.setdefault(kind, []).append((annotation_id, identity.hex()))
        if by_kind:
            self._write(added=by_kind)

    def settled(self) -> None:
        """Nothing that was sent can arrive any more."""
        if self._is_unsettled:
            self._write(settled=True)
            self._is_unsettled = False

    def removed(self, removed: Iterable[AnnotationId]) -> None:
        """The run has removed again what it had added."""
        by_kind: dict[str, list[int]] = {}
        for kind, annotation_id in removed:
            by_kind.setdefault(kind, []).append(annotation_id)
        if by_kind:
            self._write(removed=by_kind)

    def replaced(self, count: int) -> None:
        """The run has removed so many that were there before it."""
        self._write(replaced=count)

    def _write(self, **what: object) -> None:
        if self._append is not None:
            self._append({"job": self._job_id, **what})


class RunRecord:
    """The record that a process writes of a run. There is a file once there is something to write down.

    Args:
        header: Tells the first line, when it is to be written.
    """

    def __init__(self, header: Callable[[], RecordHeader]) -> None:
        self._header = header
        self._path: Path | None = None
        self._lock = threading.Lock()

    def of_job(self, job_id: int) -> JobRecord:
        """The part of it that is about a job."""
        return JobRecord(job_id, self.append)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line down.

        Raises:
            StorageError: The disk does not take it.
        """
        with self._lock:
            try:
                if self._path is None:
                    self._path = self._new_file()
                with self._path.open("ab") as file:
                    file.write(to_json(line) + b"\n")
            except OSError as error:
                self._path = None  # a line that was cut short stays the last one of its file
                raise StorageError(
                    f"what the run writes cannot be recorded in {Settings().runs_dir}: {error}; set"
                    " PREFECT_CVAT_RUNS_DIR to a folder that can be written"
                ) from error

    def _new_file(self) -> Path:
        header = self._header()
        folder = Settings().runs_dir / checked_run_id(header.run)
        make_folder(folder, within=Settings().runs_dir)
        path = folder / f"{uuid.uuid4().hex}.jsonl"
        create_file(path)
        path.write_bytes(header.model_dump_json().encode() + b"\n")
        return path


def checked_run_id(run: str) -> str:
    """Return the id of a run, if it may be the name of a folder.

    Raises:
        ValueError: It may not.
    """
    if not _RUN_ID.fullmatch(run):
        raise ValueError(f"the id of a run has letters, digits, '-' and '_' only, not {run!r}")
    return run
