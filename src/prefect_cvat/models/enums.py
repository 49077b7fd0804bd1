"""CVAT's enumerations, with the strings of its API."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["InputTypeEnum", "LabelType", "ShapeType", "SourceEnum", "enum_value"]


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
    """The type of a label: a shape type, `tag`, `interval` (of audio), or `any`."""

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
    """The input type of an attribute."""

    CHECKBOX = "checkbox"
    RADIO = "radio"
    NUMBER = "number"
    TEXT = "text"
    SELECT = "select"


class SourceEnum(StrEnum):
    """The source of an annotation."""

    AUTO = "auto"
    SEMI_AUTO = "semi-auto"
    MANUAL = "manual"
    FILE = "file"
    CONSENSUS = "consensus"


def enum_value(value: object) -> str:
    """The string of an enum member of ours, of the SDK (which is not a `str`), or of a string."""
    return str(getattr(value, "value", value))
