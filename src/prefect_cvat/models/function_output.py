"""What auto-annotation functions make: the labels of their spec, and annotations.

Names and fields are those of CVAT's API and of `cvat_sdk.models`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.models.enums import InputTypeEnum, LabelType, ShapeType, SourceEnum, enum_value
from prefect_cvat.value_conversion import attribute_string, flat_numbers

__all__ = [
    "AttributeRequest",
    "AttributeValRequest",
    "LabeledImageRequest",
    "LabeledShapeRequest",
    "PatchedLabelRequest",
    "SubLabeledShapeRequest",
    "SublabelRequest",
]


def _as_list(value: Any) -> Any:
    """Convert numpy arrays, tensors and other iterables to lists; leave the rest to pydantic."""
    if isinstance(value, list | str | bytes):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, Iterable) else value


def _is_bitmap(points: Any) -> bool:
    """Whether the points of a mask are a bitmap: several rows, or booleans."""
    if hasattr(points, "dtype"):
        rows = points.shape[0] if points.ndim == 2 else points.ndim  # one row may be run lengths
        return rows > 1 or str(points.dtype).endswith("bool")
    return isinstance(points, list | tuple) and len(points) > 1 and hasattr(points[0], "__len__")


def _plain(value: Any) -> Any:
    """Convert enum objects of the SDK, which are not strings, to strings."""
    return value if isinstance(value, str) else getattr(value, "value", value)


Points = Annotated[
    list[float], FailFast(), BeforeValidator(flat_numbers)
]  # of what is wrong, the first will do


class _RequestModel(BaseModel):
    """Base of models that are sent: unknown fields are errors.

    Values may be objects of `cvat_sdk.models`; they are copied field by field.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, from_attributes=True)

    _positional: ClassVar[tuple[str, ...]] = ()
    """Fields that may be positional: those that the SDK's model requires, in its order."""

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
            may_be_mask = type(shape_type) is not str or shape_type == "mask"
            if may_be_mask and enum_value(shape_type) == "mask" and _is_bitmap(fields.get("points")):
                raise BadFunctionError(
                    "a mask is given as run lengths and its box, not as an array of pixels: make its points"
                    " with prefect_cvat.masks.encode_mask(array)"
                )
            if args:
                super().__init__(*args, **fields)
            else:  # nearly always, hundreds of times on an image
                BaseModel.__init__(self, **fields)

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
    CVAT stores 1 if it is missing.
    """

    elements: Annotated[list[SubLabeledShapeRequest], BeforeValidator(_as_list)] = Field(default_factory=list)
