"""CVAT's objects as pydantic models, under CVAT's own names.

`requests` has what auto-annotation functions make, `server_objects` what the server sends. Names and fields
are those of CVAT's API and of `cvat_sdk.models`, so code written for one reads the same for the other.
"""

from prefect_cvat.frame_table import FrameMeta
from prefect_cvat.models.enums import InputTypeEnum, LabelType, ShapeType, SourceEnum, enum_value
from prefect_cvat.models.function_output import (
    AttributeRequest,
    AttributeValRequest,
    LabeledImageRequest,
    LabeledShapeRequest,
    PatchedLabelRequest,
    SubLabeledShapeRequest,
    SublabelRequest,
)
from prefect_cvat.models.server_objects import (
    Attribute,
    AttributeVal,
    DataMeta,
    FrameCount,
    FrameNumber,
    Job,
    JobCount,
    Label,
    LabeledData,
    ObjectId,
    Sublabel,
    Task,
    User,
    ValidationLayout,
    is_manual,
)

__all__ = [
    "Attribute",
    "AttributeRequest",
    "AttributeVal",
    "AttributeValRequest",
    "DataMeta",
    "FrameCount",
    "FrameMeta",
    "FrameNumber",
    "InputTypeEnum",
    "Job",
    "JobCount",
    "Label",
    "LabelType",
    "LabeledData",
    "LabeledImageRequest",
    "LabeledShapeRequest",
    "ObjectId",
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
    "is_manual",
]
