"""CVAT's objects as pydantic models, under CVAT's own names.

The first half is what auto-annotation functions use: label specs and annotations. Their names
and fields are those of CVAT's API (and of `cvat_sdk.models`), so that code written for one reads
the same for the other. The second half is what the server tells about tasks, jobs and media.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    InstanceOf,
    field_validator,
)

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frame_table import MOST_FRAMES, FrameMeta, FrameTable
from prefect_cvat.plain_values import attribute_string, flat_numbers

__all__ = [
    "Attribute",
    "AttributeRequest",
    "AttributeVal",
    "AttributeValRequest",
    "DataMeta",
    "FrameMeta",
    "InputTypeEnum",
    "Job",
    "JobCount",
    "Label",
    "LabelType",
    "LabeledData",
    "LabeledImageRequest",
    "LabeledShapeRequest",
    "PatchedLabelRequest",
    "ShapeType",
    "SourceEnum",
    "SubLabeledShapeRequest",
    "Sublabel",
    "SublabelRequest",
    "Task",
    "User",
    "ValidationLayout",
    "enum_value",
    "is_human",
]


class ShapeType(StrEnum):
    """The types of shapes."""

    RECTANGLE = "rectangle"
    POLYGON = "polygon"
    POLYLINE = "polyline"
    POINTS = "points"
    ELLIPSE = "ellipse"
    CUBOID = "cuboid"
    MASK = "mask"
    SKELETON = "skeleton"


class LabelType(StrEnum):
    """What a label may be put on: a shape type, `tag`, `interval` (of sound), or `any`."""

    ANY = "any"
    CUBOID = "cuboid"
    ELLIPSE = "ellipse"
    MASK = "mask"
    POINTS = "points"
    POLYGON = "polygon"
    POLYLINE = "polyline"
    RECTANGLE = "rectangle"
    SKELETON = "skeleton"
    INTERVAL = "interval"
    TAG = "tag"


class InputTypeEnum(StrEnum):
    """How the value of an attribute is entered."""

    CHECKBOX = "checkbox"
    RADIO = "radio"
    NUMBER = "number"
    TEXT = "text"
    SELECT = "select"


class SourceEnum(StrEnum):
    """Where an annotation comes from."""

    AUTO = "auto"
    SEMI_AUTO = "semi-auto"
    MANUAL = "manual"
    FILE = "file"
    CONSENSUS = "consensus"


def enum_value(value: object) -> str:
    """Return the string of an enum member, be it ours, the SDK's (which is no `str`), or a string already."""
    return str(getattr(value, "value", value))


def _as_list(value: Any) -> Any:
    """Take numpy arrays, tensors and any other sequence for a list; leave the rest to pydantic."""
    if isinstance(value, list | str | bytes):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, Iterable) else value


def _is_bitmap(points: Any) -> bool:
    """Whether the points of a mask are its pixels: several rows of them, or truth values."""
    if hasattr(points, "dtype"):
        rows = points.shape[0] if points.ndim == 2 else points.ndim  # one row may be run lengths
        return rows > 1 or str(points.dtype).endswith("bool")
    return isinstance(points, list | tuple) and len(points) > 1 and hasattr(points[0], "__len__")


def _plain(value: Any) -> Any:
    """Take the SDK's enum objects, which are not strings, for their strings."""
    return value if isinstance(value, str) else getattr(value, "value", value)


Points = Annotated[
    list[float], FailFast(), BeforeValidator(flat_numbers)
]  # of what is wrong, the first will do


class _RequestModel(BaseModel):
    """What we send, or what a function makes: an unknown field is a typing mistake.

    Objects of `cvat_sdk.models` may stand inside: they are taken over field by field.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, from_attributes=True)

    _positional: ClassVar[tuple[str, ...]] = ()
    """The fields that may be given without their names: those that the SDK's model requires, in its order."""

    if not TYPE_CHECKING:  # to type checkers the constructor keeps its named and typed fields

        def __init__(self, /, *args: Any, **fields: Any) -> None:
            if args:
                if len(args) > len(self._positional):
                    raise TypeError(
                        f"{type(self).__name__} takes at most {len(self._positional)} fields"
                        f" without their names, not {len(args)}"
                    )
                named = dict(zip(self._positional, args, strict=False))
                if doubled := named.keys() & fields:
                    raise TypeError(f"{type(self).__name__} got {', '.join(sorted(doubled))} twice")
                fields |= named
            super().__init__(**fields)


class _ServerModel(BaseModel):
    """What the server tells: fields that we do not know are newer than we are."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)


# --- what functions declare ----------------------------------------------------------------------


class AttributeRequest(_RequestModel):
    """An attribute of a label."""

    _positional = ("name", "mutable", "input_type", "values")

    name: str
    mutable: bool = False
    input_type: Annotated[InputTypeEnum, BeforeValidator(_plain)]
    values: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)
    default_value: str | None = None
    id: int | None = None


class SublabelRequest(_RequestModel):
    """A keypoint of a skeleton label."""

    _positional = ("name",)

    name: str
    id: int | None = None
    type: Annotated[LabelType, BeforeValidator(_plain)] = LabelType.POINTS
    color: str | None = None
    attributes: Annotated[list[AttributeRequest], BeforeValidator(_as_list)] = Field(default_factory=list)
    has_parent: bool = True


class PatchedLabelRequest(_RequestModel):
    """A label."""

    name: str
    id: int | None = None
    type: Annotated[LabelType, BeforeValidator(_plain)] = LabelType.ANY
    color: str | None = None
    attributes: Annotated[list[AttributeRequest], BeforeValidator(_as_list)] = Field(default_factory=list)
    sublabels: Annotated[list[SublabelRequest], BeforeValidator(_as_list)] = Field(default_factory=list)
    svg: str | None = None


# --- what functions find -------------------------------------------------------------------------


class AttributeValRequest(_RequestModel):
    """The value of an attribute on one annotation. Numbers and booleans become CVAT's strings."""

    _positional = ("spec_id", "value")

    spec_id: int
    value: Annotated[str, BeforeValidator(attribute_string)]


class LabeledImageRequest(_RequestModel):
    """A tag: a label on a whole frame."""

    _positional = ("label_id", "frame")

    label_id: int
    frame: int
    id: int | None = None
    group: int | None = None
    source: SourceEnum | None = None
    attributes: Annotated[list[AttributeValRequest], BeforeValidator(_as_list)] = Field(default_factory=list)


class SubLabeledShapeRequest(_RequestModel):
    """An element (keypoint) of a skeleton.

    `points` is `[x, y]` in pixels. `score` is between 0 and 1.
    """

    _positional = ("type", "label_id", "frame")

    if not TYPE_CHECKING:

        def __init__(self, /, *args: Any, **fields: Any) -> None:
            shape_type = args[0] if args else fields.get("type")
            if enum_value(shape_type) == "mask" and _is_bitmap(fields.get("points")):
                raise BadFunctionError(
                    "a mask is given as run lengths and its box, not as an array of pixels: make its points"
                    " with prefect_cvat.masks.encode_mask(array)"
                )
            super().__init__(*args, **fields)

    type: Annotated[ShapeType, BeforeValidator(_plain)]
    label_id: int
    frame: int
    points: Points = Field(default_factory=list)
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    rotation: float = 0.0
    score: float | None = None
    id: int | None = None
    group: int | None = None
    source: SourceEnum | None = None
    attributes: Annotated[list[AttributeValRequest], BeforeValidator(_as_list)] = Field(default_factory=list)


class LabeledShapeRequest(SubLabeledShapeRequest):
    """A shape on a frame.

    `points` is in pixels, `x` to the right and `y` down from the image's upper left corner:
    `[x1, y1, x2, y2]` of a rectangle, `[x, y, x, y, ...]` of polygon, polyline and points,
    `[cx, cy, right x, top y]` of an ellipse, 16 numbers of a cuboid, run lengths and box of a mask,
    nothing of a skeleton. `rotation` is in degrees, clockwise. `score` is between 0 and 1;
    CVAT takes a missing one for 1.
    """

    elements: Annotated[list[SubLabeledShapeRequest], BeforeValidator(_as_list)] = Field(default_factory=list)


# --- what the server tells -----------------------------------------------------------------------


ObjectId = Annotated[int, Field(ge=0, lt=2**63)]
"""The id of anything: what a database has room for."""

FrameNumber = Annotated[int, Field(ge=0, lt=MOST_FRAMES)]
"""The relative number of a frame."""

FrameCount = Annotated[int, Field(ge=0, le=MOST_FRAMES)]
"""How many frames there are. Plans hold some bytes for each."""


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
    """How many jobs a task has, of every type."""

    count: Annotated[int, Field(ge=0)]


class Task(_ServerModel):
    """A task. The fields of its data are None (or empty) until there are data."""

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


class Job(_ServerModel):
    """A job. `start_frame` and `stop_frame` (inclusive) are relative numbers, 0..size-1 of its task.

    `updated_date` changes with each write to its annotations (seen on CVAT 2.73).
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
    """What a task's or a job's media are.

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
        """Of how many frames of the source there is one in the task."""
        return int(self.frame_filter.partition("=")[2] or 1)


class ValidationLayout(_ServerModel):
    """Which frames of a task are there to check its annotators. `mode` is None, `gt` or `gt_pool`."""

    mode: str | None = None
    validation_frames: Annotated[list[FrameNumber] | None, FailFast()] = None
    disabled_frames: Annotated[list[FrameNumber] | None, FailFast()] = None
    honeypot_frames: Annotated[list[FrameNumber] | None, FailFast()] = None


class AttributeVal(_ServerModel):
    """The value of an attribute on an annotation that the server holds."""

    spec_id: ObjectId
    value: str


class LabeledData(_ServerModel):
    """All annotations of a task or a job, as the server's own JSON objects.

    They stay dicts, and the same ones: what a human drew is handed back as it came, also fields that we
    do not know, and a large job is not held twice.
    """

    tags: Annotated[list[InstanceOf[dict[str, Any]]], FailFast()] = Field(default_factory=list)
    shapes: Annotated[list[InstanceOf[dict[str, Any]]], FailFast()] = Field(default_factory=list)
    tracks: Annotated[list[InstanceOf[dict[str, Any]]], FailFast()] = Field(default_factory=list)


def is_human(annotation: Mapping[str, Any]) -> bool:
    """Whether a human had a hand in an annotation: has drawn, imported or corrected it."""
    return annotation.get("source") != "auto"
