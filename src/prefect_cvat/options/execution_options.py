"""Options for how a run is executed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prefect_cvat.options.option_model import OnCommandLine, OptionModel

__all__ = [
    "MAX_DOWNLOADS",
    "DeviceOption",
    "ExecutionOptions",
    "ExecutionSettings",
    "FetchOptions",
    "FetchSettings",
    "ReviewOptions",
]

MAX_DOWNLOADS = 16
"""Maximum number of downloads at a time."""


class DeviceOption(OptionModel):
    """The device of the function's model."""

    group: ClassVar[str] = "Function"

    device: Annotated[
        str | None,
        Field(
            description=(
                "Where the model runs, such as auto, cpu, cuda, cuda:1, mps; by default a free accelerator,"
                " or else the CPU."
            )
        ),
    ] = None


class FetchOptions(OptionModel):
    """Options for downloading images."""

    group: ClassVar[str] = "Execution"

    batch_size: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(
            title="Maximum batch size",
            description=(
                "Maximum number of frames in a batch, but at least a chunk; by default it follows the"
                " function's speed."
            ),
        ),
    ] = None
    downloads: Annotated[
        Annotated[int, Field(ge=1, le=MAX_DOWNLOADS)] | None,
        Field(
            title="Downloads at a time",
            description=(
                "How many chunks are downloaded at a time; by default four, more where that is faster and"
                " fewer where the CVAT server is slow."
            ),
        ),
    ] = None


class ExecutionOptions(FetchOptions):
    """Options for running a detection function."""

    on_frame_error: Annotated[
        Literal["fail", "skip"],
        Field(description="Fail, or skip frames on which the function fails and report them."),
    ] = "fail"
    use_cache: Annotated[
        bool,
        OnCommandLine("--cache/--no-cache"),
        Field(
            title="Cache",
            description="Cache detections, so that later runs with the same settings do not detect again.",
        ),
    ] = True
    refresh_cache: Annotated[bool, Field(description="Ignore cached detections, and replace them.")] = False


class ExecutionSettings(ExecutionOptions, DeviceOption):
    """The device, batches and the cache."""


class FetchSettings(FetchOptions, DeviceOption):
    """The device and batches."""


class ReviewOptions(OptionModel):
    """Options for the review of frames."""

    group: ClassVar[str] = "Review"

    review_frames: Annotated[
        int,
        Field(
            ge=0,
            title="Frames to review",
            description="Number of frames to review first that the report lists; 0 for none.",
        ),
    ] = 20
    open_issues: Annotated[
        int,
        Field(
            ge=0,
            description=("Number of these frames on which an issue is opened in CVAT, one for each frame."),
        ),
    ] = 0
