"""Objects of the server: users, tasks, jobs, labels, media and annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, InstanceOf, field_validator

from prefect_cvat.frame_table import MAX_FRAMES, FrameTable
from prefect_cvat.models.enums import InputTypeEnum

__all__ = [
    "Attribute",
    "AttributeVal",
    "DataMeta",
    "FrameCount",
    "FrameNumber",
    "Job",
    "JobCount",
    "Label",
    "LabeledData",
    "ObjectId",
    "Sublabel",
    "Task",
    "User",
    "ValidationLayout",
    "is_manual",
]


class _ServerModel(BaseModel):
    """Base of models that are received: unknown fields belong to newer versions, and are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)


ObjectId = Annotated[int, Field(ge=0, lt=2**63)]
"""An id that a database can hold."""

FrameNumber = Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
"""The relative number of a frame."""

FrameCount = Annotated[int, Field(ge=0, le=MAX_FRAMES)]
"""A number of frames. Plans hold some bytes for each."""


class User(_ServerModel):
    """A user of the server."""

    id: ObjectId
    username: str


class Attribute(_ServerModel):
    """An attribute of a label of a task."""

    id: ObjectId
    name: str
    mutable: bool = False
    input_type: InputTypeEnum
    values: Annotated[list[str], FailFast()] = Field(default_factory=list)
    default_value: str | None = None


class Sublabel(_ServerModel):
    """A keypoint of a skeleton label of a task."""

    id: ObjectId
    name: str
    type: str = "points"
    color: str | None = None
    attributes: Annotated[list[Attribute], FailFast()] = Field(default_factory=list)


class Label(Sublabel):
    """A label of a task."""

    type: str = "any"
    sublabels: Annotated[list[Sublabel], FailFast()] = Field(default_factory=list)


class JobCount(_ServerModel):
    """The number of jobs of a task, of all types; `completed` are those in the stage acceptance."""

    count: Annotated[int, Field(ge=0)]
    completed: Annotated[int, Field(ge=0)] = 0


class Assignee(_ServerModel):
    """The user who is to work on a task."""

    username: str


class Task(_ServerModel):
    """A task. The fields about its data are None (or empty) until it has data."""

    id: ObjectId
    name: str
    project_id: ObjectId | None = None
    dimension: str | None = None
    media_type: str | None = None
    mode: str = ""
    status: str = ""
    size: FrameCount | None = None
    data_chunk_size: Annotated[int, Field(ge=1)] | None = None
    data_original_chunk_type: str = ""
    data_compressed_chunk_type: str = ""
    organization: ObjectId | None = None
    created_date: datetime | None = None
    jobs: JobCount | None = None
    validation_mode: str | None = None
    updated_date: datetime | None = None
    assignee: Assignee | None = None


class Job(_ServerModel):
    """A job. `start_frame` and `stop_frame` (inclusive) are relative numbers, 0..size-1 of its task.

    `updated_date` changes with each write to its annotations (CVAT 2.73).
    """

    id: ObjectId
    task_id: ObjectId
    type: str = "annotation"
    start_frame: FrameNumber
    stop_frame: FrameNumber
    stage: str = ""
    state: str = ""
    created_date: datetime | None = None
    updated_date: datetime | None = None
    task_name: str = ""
    project_id: ObjectId | None = None
    dimension: str | None = None
    media_type: str | None = None
    mode: str = ""
    data_chunk_size: Annotated[int, Field(ge=1)] | None = None
    data_original_chunk_type: str = ""
    data_compressed_chunk_type: str = ""
    organization: ObjectId | None = None


def _frame_table(frames: Any) -> Any:
    return FrameTable(frames) if isinstance(frames, list) else frames


class DataMeta(_ServerModel):
    """The media of a task or a job.

    `start_frame`, `stop_frame` and `frame_filter` number the SOURCE, `deleted_frames` the task's frames.
    """

    chunk_size: int = Field(ge=1)
    size: FrameCount
    start_frame: int = 0
    stop_frame: int = 0
    frame_filter: str = ""
    frames: Annotated[FrameTable, BeforeValidator(_frame_table)] = Field(default_factory=FrameTable)
    deleted_frames: Annotated[list[FrameNumber], FailFast()] = Field(default_factory=list)
    chunks_updated_date: datetime | None = None

    @field_validator("frame_filter")
    @classmethod
    def _check_filter(cls, text: str) -> str:
        if text and not re.fullmatch(r"step=[1-9]\d{0,8}", text):
            raise ValueError("should be empty, or step= with a number")
        return text

    @property
    def step(self) -> int:
        """The task has every `step`-th frame of the source."""
        return int(self.frame_filter.partition("=")[2] or 1)


class ValidationLayout(_ServerModel):
    """The validation frames of a task. `mode` is None, `gt` or `gt_pool`."""

    mode: str | None = None
    validation_frames: Annotated[list[FrameNumber] | None, FailFast()] = None
    disabled_frames: Annotated[list[FrameNumber] | None, FailFast()] = None
    honeypot_frames: Annotated[list[FrameNumber] | None, FailFast()] = None


class AttributeVal(_ServerModel):
    """The value of an attribute of an annotation on the server."""

    spec_id: ObjectId
    value: str


class LabeledData(_ServerModel):
    """All annotations of a task or a job, as JSON objects of the server.

    They stay the same dicts: manual annotations are sent back unchanged, including unknown fields, and a
    large job is not in memory twice.
    """

    tags: Annotated[list[InstanceOf[dict[str, Any]]], FailFast()] = Field(default_factory=list)
    shapes: Annotated[list[InstanceOf[dict[str, Any]]], FailFast()] = Field(default_factory=list)
    tracks: Annotated[list[InstanceOf[dict[str, Any]]], FailFast()] = Field(default_factory=list)


def is_manual(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is manual: drawn, imported or corrected by a person."""
    return annotation.get("source") != "auto"
