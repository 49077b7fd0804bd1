"""Options for tracking existing shapes over the frames of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.models import SourceEnum
from prefect_cvat.options.model import OnCommandLine, OptionModel, list_or_none

__all__ = ["Direction", "ShapeTrackingOptions"]

Direction = Literal["forward", "backward", "both"]
"""Where shapes are tracked to: frames of higher numbers, of lower ones, or both."""


class ShapeTrackingOptions(OptionModel):
    """Which shapes are tracked, and how far. All frames are frames of the task.

    Raises:
        ValueError: A value is out of range, or two of them do not go together.
    """

    group: ClassVar[str] = "Tracks, with a tracking function"

    labels: Annotated[
        Sequence[str] | None,
        BeforeValidator(list_or_none),
        OnCommandLine("--label", metavar="NAME"),
        Field(description="Names of the labels whose shapes are tracked; by default all."),
    ] = None
    sources: Annotated[
        Sequence[SourceEnum] | None,
        BeforeValidator(list_or_none),
        OnCommandLine("--source"),
        Field(
            description="Sources of the shapes that are tracked, as CVAT names them; by default all but auto."
        ),
    ] = None
    direction: Annotated[Direction, Field(description="Direction in which they are tracked.")] = "forward"
    until: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(
            description=(
                "Last frame to track to in this direction; by default the last (or first) of all. Shapes"
                " behind it are not tracked."
            )
        ),
    ] = None
    keep_source_shapes: Annotated[
        bool,
        Field(
            title="Keep source shapes",
            description="Keep the source shapes beside the tracks that they have become.",
        ),
    ] = False
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            description=(
                "By how many pixels interpolated coordinates may differ from tracked ones; where they would"
                " differ by more, there is a keyframe."
            ),
        ),
    ] = 2.0

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.until is not None and self.direction == "both":
            raise ValueError(
                f"{argument('until')} needs one direction: track forward and backward in two runs"
            )
        return self
