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
