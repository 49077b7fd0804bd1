"""What was learned from the corrections of a project, in a file of this machine.

`prefect-cvat learn` writes it and `annotate --learned` reads it. Each project of a server has a file, and so
has each task without a project. It holds the evidence of each task beside what follows from all of it, so a
task that is learned from again replaces its own evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.folder_permissions import apply_folder_permissions, create_file, make_folder
from prefect_cvat.files.replaced_file import replace_file
from prefect_cvat.http.server_url import server_identity, server_slug
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.review.calibration import Calibration
from prefect_cvat.review.evidence import Row
from prefect_cvat.settings import Settings

__all__ = ["Confusion", "Learned", "LearnedFunction", "TaskEvidence", "changing_learned", "read_learned"]

FORMAT = 2
"""Incremented when older files can no longer be read."""

LOCK_SECONDS = 60


class Confusion(BaseModel):
    """A label that a function takes for another one.

    Attributes:
        written: The label that the function gave.
        corrected: The label that people gave instead.
        count: The number of annotations.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    written: str
    corrected: str
    count: int


class TaskEvidence(BaseModel):
    """What the corrections of one task say about one version of a function.

    Attributes:
        shapes: Right and all shapes by group, see `Evidence`.
        frames: The number of frames that the function has processed and somebody has looked at.
        missed: The number of objects that people have drawn on them, by label.
        confusions: Changed labels.
        labels: The task's label for each label of the function; None for dropped labels.
        learned_labels: Those of them that the last run had learned.
        runs: The ids of the runs.
        version: The version, see `Provenance.version`; None if it is not known.
        started: When its last run was started.
        learned: When it was learned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shapes: list[Row] = Field(default_factory=list)
    frames: int = 0
    missed: dict[str, int] = Field(default_factory=dict)
    confusions: list[Confusion] = Field(default_factory=list)
    labels: dict[str, str | None] = Field(default_factory=dict)
    learned_labels: dict[str, str] = Field(default_factory=dict)
    runs: list[str] = Field(default_factory=list)
    version: str | None = None
    started: datetime
    learned: datetime


class LearnedFunction(BaseModel):
    """What the corrections of all tasks of a project teach about one function.

    Attributes:
        calibration: The probability that a shape is right.
        missed_per_frame: The mean number of objects on a frame that the function does not find.
        thresholds: Confidence thresholds, by label of the function.
        label_map: The label of the task for a label of the function that people mostly change to it.
        confusions: Changed labels, the most frequent first.
        shapes: The number of shapes that somebody has looked at.
        right: The number of those that stayed.
        frames: The number of frames that somebody has looked at.
        missed: The number of objects that people have drawn.
        tasks: The tasks, in ascending order.
        version: The version for which it holds; what was learned about others counts a tenth.
        is_of_version: Whether something was learned about this version. If not, there are no thresholds and
            no label map.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    calibration: Calibration = Calibration()
    missed_per_frame: float = 0.0
    thresholds: dict[str, float] = Field(default_factory=dict)
    label_map: dict[str, str] = Field(default_factory=dict)
    confusions: list[Confusion] = Field(default_factory=list)
    shapes: int = 0
    right: int = 0
    frames: int = 0
    missed: int = 0
    tasks: list[int] = Field(default_factory=list)
    version: str | None = None
    is_of_version: bool = True

    def summary(self, place: str) -> str:
        """What was learned in a project, in a line."""
        used = [
            f"thresholds of {pluralize(len(self.thresholds), 'label')}" * bool(self.thresholds),
            f"{pluralize(len(self.label_map), 'label')} mapped to another one" * bool(self.label_map),
        ]
        other = (
            ", where all counts a tenth and thresholds and a label map are not used: it was another version,"
            " or other parameters or prompts, of the function"
        )
        return (
            f"learned from {pluralize(self.shapes, 'shape')} on {pluralize(self.frames, 'corrected frame')}"
            f" of {place}: {', '.join(['the order of review', *filter(None, used)])}"
            f"{'' if self.is_of_version else other}"
        )


class Learned(BaseModel):
    """What was learned in a project.

    Attributes:
        format: The format of the file.
        server: The address of the server.
        project_id: The id of the project; None for a task without a project.
        task_id: The id of that task; None for a project.
        updated: When it was learned last.
        functions: What follows, by name of the function.
        evidence: The evidence, by name of the function and id of the task, for each version of the function.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    server: str
    project_id: int | None = None
    task_id: int | None = None
    updated: datetime | None = None
    functions: dict[str, LearnedFunction] = Field(default_factory=dict)
    evidence: dict[str, dict[int, list[TaskEvidence]]] = Field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it was learned, in words."""
        return f"task {self.task_id}" if self.project_id is None else f"project {self.project_id}"


def read_learned(server: str, project_id: int | None, task_id: int) -> Learned:
    """Read what was learned in a project; it is empty if nothing was.

    Args:
        server: The address of the server.
        project_id: The id of the project.
        task_id: The id of the task, which counts if it has no project.

    Raises:
        StorageError: The file cannot be read.
    """
    return _read(_file(server, project_id, task_id), server, project_id, task_id)


@contextmanager
def changing_learned(server: str, project_id: int | None, task_id: int) -> Iterator[Learned]:
    """Read what was learned in a project, and write it again when the block ends without an error.

    Meanwhile no other process changes it.

    Raises:
        StorageError: The file cannot be read or written, or another process does not release it.
    """
    path = _file(server, project_id, task_id)
    lock = path.with_suffix(".lock")
    try:
        make_folder(path.parent, within=Settings().learned_dir)
        create_file(lock)
        with filelock.FileLock(lock, timeout=LOCK_SECONDS):
            learned = _read(path, server, project_id, task_id)
            yield learned
            replace_file(path, learned.model_dump_json(indent=1).encode(), apply_folder_permissions)
    except filelock.Timeout:
        raise StorageError(f"another process has been changing {path} for {LOCK_SECONDS} s") from None
    except OSError as error:
        raise StorageError(
            f"what was learned cannot be kept in {path}: {error}; set PREFECT_CVAT_LEARNED_DIR to a writable"
            " folder"
        ) from error


def _file(server: str, project_id: int | None, task_id: int) -> Path:
    name = f"task-{task_id}" if project_id is None else f"project-{project_id}"
    return Settings().learned_dir / server_slug(server) / f"{name}.json"


def _read(path: Path, server: str, project_id: int | None, task_id: int) -> Learned:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        of_task = task_id if project_id is None else None
        return Learned(server=server_identity(server), project_id=project_id, task_id=of_task)
    except OSError as error:
        raise StorageError(f"what was learned cannot be read from {path}: {error}") from error
    try:
        learned = Learned.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise StorageError(
            f"{path} is not what `prefect-cvat learn` has written"
            f" ({'.'.join(map(str, problem['loc']))}: {problem['msg']}); delete it, and learn again"
        ) from None
    if learned.format != FORMAT or learned.server != server_identity(server):
        raise StorageError(
            f"{path} has format {learned.format} and is of {learned.server}; expected format {FORMAT} and"
            f" {server_identity(server)}. Delete it, and learn again"
        )
    return learned
