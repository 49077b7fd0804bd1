"""Options for associating detections to tracks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.options.option_base import OptionModel

__all__ = ["TrackOptions", "Tracker"]


class Tracker(StrEnum):
    """The tracking algorithms, by their names in the library `trackers`."""

    BYTETRACK = "bytetrack"
    OCSORT = "ocsort"
    SORT = "sort"


class TrackOptions(OptionModel):
    """Options for associating detections to tracks. Gaps and lengths are in frames of the task.

    The default thresholds are those of the ByteTrack paper; a function with low scores may need lower ones.

    Raises:
        ValueError: A value is out of range, or two options contradict each other.
    """

    group: ClassVar[str] = "Tracks, with a detection function"

    step: Annotated[
        int, Field(ge=1, strict=True, description="Detect on every n-th frame; CVAT interpolates between.")
    ] = 1
    min_length: Annotated[
        int,
        Field(
            ge=1,
            strict=True,
            title="Minimum length",
            description="Minimum number of detections of a track; shorter ones are left out.",
        ),
    ] = 3
    max_gap: Annotated[
        int,
        Field(
            ge=1,
            strict=True,
            title="Maximum gap",
            description="Maximum gap (frames) between two detections of an object before a new track starts.",
        ),
    ] = 30
    fill_gap: Annotated[
        int,
        Field(
            ge=0,
            strict=True,
            title="Maximum gap to interpolate",
            description=(
                "Maximum number of frames without a detection that are interpolated. In a longer gap the"
                " object is marked as outside."
            ),
        ),
    ] = 10
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
    tracker: Annotated[Tracker, Field(description="The tracking algorithm.")] = Tracker.BYTETRACK
    high_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description=(
                "Minimum confidence of detections that are associated first. The others are associated"
                " afterwards, to objects that have no detection yet, and start no track. (ByteTrack; in"
                " OC-SORT the minimum confidence of all detections; not in SORT.)"
            ),
        ),
    ] = 0.5
    activation: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Activation confidence",
            description="Minimum confidence of the first detection of a track. (Not in OC-SORT.)",
        ),
    ] = 0.6
    min_iou: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Minimum IoU",
            description=(
                "Minimum IoU of a detection with the predicted box of its track. If frames are skipped, both"
                " boxes are grown first."
            ),
        ),
    ] = 0.2

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.max_gap < self.step:
            raise ValueError(
                f"{argument('max_gap', self.max_gap)} must not be less than {argument('step', self.step)}:"
                " each track would end before the next processed frame"
            )
        return self
