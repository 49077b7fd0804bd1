"""The flow that creates tracks in one task."""

from __future__ import annotations

from prefect import flow

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.form_titles_and_choices import TrackFunctionName, form
from prefect_cvat.flows.function_choice import DETECTION_FUNCTION, TaskId, choose_function, name_run
from prefect_cvat.flows.run_on_task import run_on_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionSettings, TrackReviewOptions
from prefect_cvat.options.existing_annotation_options import ReplacementOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.runs.track_task import new_track_run

__all__ = ["track_task"]


@flow(name="track task", flow_run_name=name_run, persist_result=False, retries=0)
@form
def track_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: TrackFunctionName = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    track_options: TrackOptions = TrackOptions(),
    shape_tracking_options: ShapeTrackingOptions = ShapeTrackingOptions(),
    labels: LabelOptions = LabelOptions(),
    existing_annotations: ReplacementOptions = ReplacementOptions(),
    frames: FrameOptions = FrameOptions(),
    review: TrackReviewOptions = TrackReviewOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
) -> RunReport:
    """Make tracks in a CVAT task, of what a detection function finds or of shapes that somebody has drawn.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A detection function (nanodet_detection), or a tracking function (optical_flow_tracking).
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        track_options: How detections become tracks; for a detection function.
        shape_tracking_options: Which shapes are tracked, and how far; for a tracking function.
        labels: Which labels of the function are written, and from which confidence on.
        existing_annotations: What is done with existing annotations; for a detection function.
        frames: Which frames and jobs, and which images of them.
        review: Which frames are proposed for review.
        annotations: What the annotations are like that are written.
        execution: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    chosen = choose_function(function_block, function, function_parameters, execution, labels, annotations)
    options = Options.of_form(chosen, existing_annotations, frames, execution, review)
    return run_on_task(
        credentials,
        task_id,
        chosen,
        options,
        lambda client, loaded: new_track_run(
            client,
            task_id,
            loaded,
            options,
            track_options,
            shape_tracking_options,
            function_name=chosen.function,
        ),
        kind=("track", track_options, shape_tracking_options),
    )
