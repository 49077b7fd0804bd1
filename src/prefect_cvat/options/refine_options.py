"""Options for refining existing shapes into masks or polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field

from prefect_cvat.models import SourceEnum
from prefect_cvat.options.option_base import OnCommandLine, OptionModel, list_or_none

__all__ = ["PROMPTING_TYPES", "PromptingType", "RefineOptions"]

PromptingType = Literal["rectangle", "points"]

PROMPTING_TYPES: tuple[PromptingType, ...] = get_args(PromptingType)
"""The types of shapes that can be prompts."""


class RefineOptions(OptionModel):
    """Options for refining shapes.

    Raises:
        ValueError: A value is out of range.
    """

    group: ClassVar[str] = "Shapes to refine"

    labels: Annotated[
        Sequence[str] | None,
        BeforeValidator(list_or_none),
        OnCommandLine("--label", metavar="NAME"),
        Field(description="Names of the labels whose shapes are refined; by default all."),
    ] = None
    sources: Annotated[
        Sequence[SourceEnum] | None,
        BeforeValidator(list_or_none),
        OnCommandLine("--source"),
        Field(description="Sources of the shapes that are refined, as CVAT names them; by default all."),
    ] = None
    shape_types: Annotated[
        Sequence[PromptingType] | None,
        BeforeValidator(list_or_none),
        OnCommandLine("--shape-type"),
        Field(description="Types of the shapes that are refined: rectangle, points; by default both."),
    ] = None
    to: Annotated[
        Literal["mask", "polygon"],
        Field(
            title="Result",
            description="Type of the results; a mask with several parts gives several polygons.",
        ),
    ] = "mask"
    keep_originals: Annotated[bool, Field(description="Keep the originals.")] = False
    tolerance: Annotated[
        float,
        Field(ge=0, description="Maximum distance of a polygon from the outline of its mask, in pixels."),
    ] = 1.0

    def describe(self) -> str:
        """A description of the selected shapes, such as `rectangle or points of source manual`."""
        text = " or ".join(PROMPTING_TYPES if self.shape_types is None else self.shape_types)
        if self.labels is not None:
            text += f" of label {' or '.join(map(repr, self.labels))}"
        if self.sources is not None:
            text += f" of source {' or '.join(self.sources)}"
        return text
