"""Options for tracking existing shapes over the frames of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.models import SourceEnum
from prefect_cvat.options.option_base import OnCommandLine, OptionModel, list_or_none

__all__ = ["Direction", "ShapeTrackingOptions"]

Direction = Literal["forward", "backward", "both"]
"""Track to frames with higher numbers, lower numbers, or both."""


class ShapeTrackingOptions(OptionModel):
    """Options for tracking existing shapes. Frame numbers are those of the task.

    Raises:
        ValueError: A value is out of range, or two options contradict each other.
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
    direction: Annotated[Direction, Field(description="Direction of tracking.")] = "forward"
    until: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(
            description=(
                "Last frame to track to; by default the last (or first) frame of the task. Shapes beyond it"
                " are not tracked."
            )
        ),
    ] = None
    keep_source_shapes: Annotated[
        bool,
        Field(
            title="Keep source shapes",
            description="Keep the source shapes in addition to the tracks.",
        ),
    ] = False
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            description=(
                "Maximum error of interpolated coordinates, in pixels; more keyframes are written where it"
                " would be exceeded."
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
