"""Options for how a run is executed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prefect_cvat.options.model import OnCommandLine, OptionModel

__all__ = ["DeviceOption", "ExecutionOptions", "FetchOptions", "ReviewOptions"]


class DeviceOption(OptionModel):
    """Where the model of the function runs."""

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
    """How images are fetched."""

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
    downloads: Annotated[int, Field(ge=1, le=16, description="How many chunks are downloaded at a time.")] = 1


class ExecutionOptions(FetchOptions):
    """How a detection function is run."""

    on_frame_error: Annotated[
        Literal["fail", "skip"],
        Field(description="Fail, or skip frames on which the function fails and report them."),
    ] = "fail"
    use_cache: Annotated[
        bool,
        OnCommandLine("--cache/--no-cache"),
        Field(
            title="Cache",
            description="Keep detections between runs, so that nothing is detected twice.",
        ),
    ] = True
    refresh_cache: Annotated[
        bool, Field(description="Detect again what is in the cache, and replace it there.")
    ] = False


class ReviewOptions(OptionModel):
    """Which frames are proposed for review."""

    group: ClassVar[str] = "Review"

    review_frames: Annotated[
        int,
        Field(
            ge=0,
            title="Frames to review",
            description="How many frames to report that should be reviewed first; 0 for none.",
        ),
    ] = 20
    open_issues: Annotated[
        int,
        Field(
            ge=0,
            description=(
                "On how many of these frames an issue is opened in CVAT; no frame gets a second one."
            ),
        ),
    ] = 0
