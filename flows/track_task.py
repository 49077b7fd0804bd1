"""The flow that makes tracks in one task."""

from __future__ import annotations

from prefect import flow

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.carry_out import carry_out
from prefect_cvat.flows.parameters import (
    DETECTION_FUNCTION,
    FrameSelection,
    LabelMatching,
    RunSettings,
    TaskId,
    Threshold,
    choose_function,
    make_options,
    name_run,
)
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.track_task import new_track_run

__all__ = ["track_task"]


@flow(name="track task", flow_run_name=name_run, persist_result=False, retries=0)
def track_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: str = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    tracking: TrackOptions = TrackOptions(),  # noqa: B008 (frozen; the form shows its fields)
    following: ShapeTrackingOptions = ShapeTrackingOptions(),  # noqa: B008
    existing: Existing = Existing.KEEP,
    conf_threshold: Threshold | None = None,
    allow_unmatched_labels: bool = False,
    labels: LabelMatching = LabelMatching(),  # noqa: B008
    frames: FrameSelection = FrameSelection(),  # noqa: B008
    settings: RunSettings = RunSettings(),  # noqa: B008
) -> RunReport:
    """Make tracks in a CVAT task, of what a detection function finds or of shapes that somebody has drawn.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A detection function (nanodet_detection), or a tracking function (optical_flow_tracking).
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function and thresholds here.
        tracking: How detections become tracks; for a detection function.
        following: Which shapes are followed, and how far; for a tracking function.
        existing: What becomes of the annotations that the task has already; for a detection function.
        conf_threshold: The least score, 0 to 1; empty leaves it to the function.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        labels: How the labels of the function are matched with those of the task.
        frames: Which frames and jobs, and which images of them.
        settings: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    chosen = choose_function(
        function_block,
        function,
        function_parameters,
        labels=labels,
        device=settings.device,
        conf_threshold=conf_threshold,
        allow_unmatched_labels=allow_unmatched_labels,
    )
    options = make_options(chosen, frames, settings, existing=existing)
    return carry_out(
        credentials,
        task_id,
        chosen,
        options,
        lambda client, loaded: new_track_run(
            client, task_id, loaded, options, tracking, following, function_name=chosen.function
        ),
        kind=("track", tracking, following),
    )
