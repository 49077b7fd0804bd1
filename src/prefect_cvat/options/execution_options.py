"""Options for how a run is executed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = [
    "MAX_DOWNLOADS",
    "ExecutionOptions",
    "ExecutionSettings",
    "FetchOptions",
    "FetchSettings",
    "ModelOptions",
    "ReviewOptions",
    "TrackReviewOptions",
]

MAX_DOWNLOADS = 16
"""Maximum number of downloads at a time."""


class ModelOptions(OptionModel):
    """The device of the function's model, and how many images it gets at once: arguments of its `create`."""

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
    batch_size: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(
            description=(
                "Maximum number of images that the model gets at once; by default the function decides. The"
                " built-in functions find the fastest on a GPU."
            ),
        ),
    ] = None

    @property
    def create_arguments(self) -> dict[str, Any]:
        """The arguments for the `create` of the function: those that were given."""
        given = {name: getattr(self, name) for name in ModelOptions.model_fields}
        return {name: value for name, value in given.items() if value is not None}


class FetchOptions(OptionModel):
    """Options for downloading images."""

    group: ClassVar[str] = "Execution"

    frames_per_batch: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(
            description=(
                "Maximum number of frames that are fetched, detected and uploaded as one batch, but at least"
                " a chunk; by default it follows the function's speed."
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


class ExecutionSettings(ExecutionOptions, ModelOptions):
    """The model, batches and the cache."""


class FetchSettings(FetchOptions, ModelOptions):
    """The model and batches."""


class TrackReviewOptions(OptionModel):
    """Options for the review of frames with tracks."""

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


class ReviewOptions(TrackReviewOptions):
    """Options for the review of frames."""

    review_threshold: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Field(
            title="Confidence threshold for the review",
            description=(
                "Minimum confidence of detections that are not written, but count in the order of review as"
                " objects that may be missed; with what was learned by default half the confidence threshold,"
                " else none count."
            ),
        ),
    ] = None
