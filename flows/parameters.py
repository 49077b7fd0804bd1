"""The parameters that several flows have, with what the form in Prefect's UI says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.function_block import CvatFunction, Threshold
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.selection import Selection

__all__ = [
    "DETECTION_FUNCTION",
    "FrameSelection",
    "LabelMatching",
    "LeastIou",
    "RunSettings",
    "TaskId",
    "Threshold",
    "choose_function",
    "chosen_name",
    "make_options",
    "name_run",
]

DETECTION_FUNCTION = "nanodet_detection"
"""The function that flows run where none is named: it comes with its weights."""

TaskId = Annotated[int, Field(ge=1)]

LeastIou = Annotated[float, Field(gt=0, le=1)]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelMatching(_Parameters):
    """Which label of the task each label of the function becomes."""

    label_map: dict[str, str | None] = Field(
        default_factory=dict,
        description="From the function's label names to the task's, where they differ; null drops a label.",
    )
    ignore_case: bool = Field(
        default=False, description="Match label names without regard to upper and lower case."
    )
    label_thresholds: dict[str, Threshold] = Field(
        default_factory=dict,
        description="The least score for single labels, by the function's label names.",
    )
    score_attribute: str = Field(
        default="score",
        description="The attribute of the task's labels that gets scores, if there is one; empty for none.",
    )
    model_attribute: str = Field(
        default="model",
        description="The attribute of the task's labels that gets the function's name; empty for none.",
    )


class FrameSelection(_Parameters):
    """Which frames, and which images of them."""

    frames: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="The numbers of the frames, from 0 on; empty for all."
    )
    unannotated: bool = Field(
        default=False,
        description=(
            "Only frames without any annotation, of a human or of a run. For annotating with shapes only."
        ),
    )
    jobs: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None,
        description=(
            "The numbers of the jobs to write to; empty for all. Runs on different jobs of a task may go on"
            " at the same time."
        ),
    )
    quality: Literal["original", "compressed"] = Field(
        default="original",
        description="Original, or compressed images as annotators see them, which are smaller to download.",
    )


class RunSettings(_Parameters):
    """How the run is carried out."""

    device: str | None = Field(
        default=None,
        description="Where the model runs, such as cuda:0; empty takes a free accelerator, or else the CPU.",
    )
    on_frame_error: Literal["fail", "skip"] = Field(
        default="fail", description="Fail, or skip frames on which the function fails and report them."
    )
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="How many frames a batch has at the most; empty adapts it to the function's speed.",
    )
    downloads: int = Field(default=1, ge=1, le=16, description="How many chunks are downloaded at a time.")
    use_cache: bool = Field(
        default=True,
        description="Keep detections between runs, so that a run that died goes on where it was.",
    )
    refresh_cache: bool = Field(default=False, description="Detect everything anew, and keep that.")
    review_frames: int = Field(
        default=20,
        ge=0,
        description="How many frames to report that should be looked at first: most corrections expected.",
    )
    open_issues: int = Field(
        default=0,
        ge=0,
        description="On how many of these an issue is opened in CVAT; no frame gets a second one.",
    )


def choose_function(
    block: CvatFunction | None,
    function: str,
    function_parameters: dict[str, str] | None = None,
    *,
    labels: LabelMatching | None = None,
    device: str | None = None,
    **settings: Any,
) -> CvatFunction:
    """The function that a run is to use: that of a block, or the one that its own parameters describe.

    Args:
        block: A configured function; it takes the place of all else but the device. (A deployment may have
            set the rest, and a form cannot take it away.)
        function: The name of a function.
        function_parameters: Its parameters.
        labels: How labels are matched.
        device: Where the model runs.
        settings: Further fields of `CvatFunction`.
    """
    if block is not None:
        return block if device is None else block.model_copy(update={"device": device})
    return CvatFunction(
        function=function,
        function_parameters=function_parameters or {},
        device=device,
        **(labels or LabelMatching()).model_dump(),
        **settings,
    )


def make_options(
    function: CvatFunction,
    frames: FrameSelection,
    settings: RunSettings,
    *,
    existing: Existing = Existing.KEEP,
    skip_existing_iou: float | None = None,
    skip_existing_source: ExistingSource = ExistingSource.MANUAL,
) -> Options:
    """Put the parameters of a flow into the options of a run."""
    return Options(
        # a list that was emptied in the form is one that was not given
        selection=Selection(
            frames=frames.frames or None, jobs=frames.jobs or None, unannotated=frames.unannotated
        ),
        existing=existing,
        skip_existing_iou=skip_existing_iou,
        skip_existing_source=skip_existing_source,
        allow_unmatched_labels=function.allow_unmatched_labels,
        label_map=function.label_map,
        conf_threshold=function.conf_threshold,
        label_thresholds=function.label_thresholds,
        ignore_case=function.ignore_case,
        conv_mask_to_poly=function.conv_mask_to_poly,
        score_attribute=function.score_attribute or None,
        model_attribute=function.model_attribute or None,
        on_frame_error=settings.on_frame_error,
        quality=frames.quality,
        batch_size=settings.batch_size,
        downloads=settings.downloads,
        use_cache=settings.use_cache,
        refresh_cache=settings.refresh_cache,
        review_frames=settings.review_frames,
        open_issues=settings.open_issues,
    )


def name_run() -> str:
    """The name of a run of a flow on a task, such as `annotate task 42 with nanodet_detection`."""
    parameters = flow_run.parameters
    jobs = getattr(parameters.get("frames"), "jobs", None)
    shard = f" (jobs {jobs[0]}-{jobs[-1]})" if jobs else ""
    return f"{flow_run.flow_name} {parameters['task_id']}{shard} with {chosen_name(parameters)}"


def chosen_name(parameters: Mapping[str, Any]) -> str:
    """The name of the function that a run is to use, by the parameters of its flow; empty for none."""
    block = parameters.get("function_block")
    return str(parameters.get("function") or "") if block is None else str(block.function)
