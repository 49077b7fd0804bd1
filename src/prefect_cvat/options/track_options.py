"""How detections become tracks: what a user may set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from prefect_cvat.messages.argument_names import argument

__all__ = ["TrackOptions", "Tracker"]


class Tracker(StrEnum):
    """The ways to tell objects apart, by the names that the library `trackers` has for them."""

    BYTETRACK = "bytetrack"
    OCSORT = "ocsort"
    SORT = "sort"


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """How detections become tracks. All frames are frames of the task.

    The thresholds are those that ByteTrack was published with. A function whose scores are low may need
    lower ones.

    Raises:
        ValueError: A value is out of range, or two of them do not go together.
    """

    step: Annotated[
        int, Field(ge=1, description="Detect on every n-th frame; CVAT interpolates between.")
    ] = 1
    min_length: Annotated[
        int,
        Field(
            ge=1,
            description=(
                "How often an object must have been detected at the least; what was detected less often is"
                " left out."
            ),
        ),
    ] = 3
    max_gap: Annotated[
        int,
        Field(
            ge=1,
            description=(
                "The most frames from one detection of an object to its next one. After more it is taken for"
                " another object."
            ),
        ),
    ] = 30
    fill_gap: Annotated[
        int,
        Field(
            ge=0,
            description=(
                "The most frames without a detection that are interpolated. In a longer gap the object is"
                " marked as outside."
            ),
        ),
    ] = 10
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            description=(
                "Pixels by which interpolated coordinates may differ from detected ones; where they would by"
                " more, there is a keyframe."
            ),
        ),
    ] = 2.0
    tracker: Annotated[Tracker, Field(description="How objects are told apart.")] = Tracker.BYTETRACK
    high_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description=(
                "The score from which on a detection is matched first. Those below are matched afterwards, to"
                " objects that nothing was found for, and begin no track. (ByteTrack; in OC-SORT the score"
                " from which on a detection counts at all; not in SORT.)"
            ),
        ),
    ] = 0.5
    activation: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="The score that the first detection of a track has at the least. (Not in OC-SORT.)",
        ),
    ] = 0.6
    min_iou: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description=(
                "By how much a detection must overlap with where its object was expected: intersection over"
                " union, between 0 and 1. Where frames are left out, both boxes are grown first."
            ),
        ),
    ] = 0.2

    def __post_init__(self) -> None:
        least = {"step": 1, "min_length": 1, "max_gap": 1, "fill_gap": 0}
        for name in least:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least[name]:
                raise ValueError(
                    f"{argument(name)} must be a whole number, {least[name]} or more, not {value!r}"
                )
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(
                f"{argument('tolerance')} must be a number of pixels, 0 or more, not {self.tolerance!r}"
            )
        for name in ("high_confidence", "activation", "min_iou"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{argument(name)} must be between 0 and 1, not {value!r}")
        if self.max_gap < self.step:
            raise ValueError(
                f"{argument('max_gap', self.max_gap)} must not be less than {argument('step', self.step)}:"
                " each object would be lost before the next frame is looked at"
            )
        try:
            object.__setattr__(self, "tracker", Tracker(self.tracker))
        except ValueError:
            names = ", ".join(Tracker)
            raise ValueError(f"{argument('tracker')} must be one of {names}, not {self.tracker!r}") from None
