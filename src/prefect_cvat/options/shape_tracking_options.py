"""Options of tracking existing shapes over the frames of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.models import SourceEnum

__all__ = ["Direction", "ShapeTrackingOptions"]


@dataclass(frozen=True, kw_only=True)
class ShapeTrackingOptions:
    """Which shapes are followed, and how far. All frames are frames of the task.

    Raises:
        ValueError: A value is out of range, or two of them do not go together.
    """

    labels: Annotated[
        Sequence[str] | None,
        Field(description="The names of the labels whose shapes are followed; empty for all."),
    ] = None
    sources: Annotated[
        Sequence[SourceEnum] | None,
        Field(
            description=(
                "The sources of the shapes that are followed, as CVAT names them; empty for all but `auto`:"
                " what a human drew or has corrected."
            )
        ),
    ] = None
    direction: Annotated[Direction, Field(description="Where to follow them.")] = "forward"
    until: Annotated[
        int | None,
        Field(
            description=(
                "The last frame to follow to in this direction; empty for the last (or first) of all. Shapes"
                " behind it are not followed."
            )
        ),
    ] = None
    keep_source_shapes: Annotated[
        bool, Field(description="Whether the shapes stay beside the tracks that they have become.")
    ] = False
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            description=(
                "Pixels by which interpolated coordinates may differ from what was found; where they would by"
                " more, there is a keyframe."
            ),
        ),
    ] = 2.0

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            names = ", ".join(get_args(Direction))
            raise ValueError(f"{argument('direction')} must be one of {names}, not {self.direction!r}")
        if self.until is not None and self.direction == "both":
            raise ValueError(
                f"{argument('until')} needs one direction: follow forward and backward in two runs"
            )
        known = [source.value for source in SourceEnum]
        for source in self.sources or ():
            if source not in known:
                raise ValueError(f"{argument('sources')} must be among {', '.join(known)}, not {source!r}")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(
                f"{argument('tolerance')} must be a number of pixels, 0 or more, not {self.tolerance!r}"
            )


Direction = Literal["forward", "backward", "both"]
"""Where shapes are followed to: frames of higher numbers, of lower ones, or both."""
