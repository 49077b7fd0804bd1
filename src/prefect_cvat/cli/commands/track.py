"""The command `track`."""

from __future__ import annotations

from typing import Annotated

from prefect_cvat.cli.command import TaskId, Without, command
from prefect_cvat.cli.console import keep_stdout_for_json
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions

__all__ = ["track"]


@command
def track(
    task_id: TaskId,
    function: FunctionChoice,
    track_options: TrackOptions,
    shape_tracking_options: ShapeTrackingOptions,
    options: Annotated[
        Options, Without("score_attribute", "skip_existing_iou", "skip_existing_source", "review_threshold")
    ],
    output: RunReportOptions,
) -> None:
    """Create tracks from the detections of a function, or from shapes that somebody has drawn.

    The detections of a detection function (nanodet_detection) are associated to tracks. A tracking function
    (optical_flow_tracking) tracks existing shapes. Some options apply to one of these kinds only.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        track 123 --function nanodet_detection --allow-unmatched-labels --step 2
      prefect-cvat --server-host cvat.example.com --auth alice \\
        track 123 --function optical_flow_tracking --label person --direction both
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    output.check_pages([task_id])
    loaded = function.load()
    from prefect_cvat.cli.run_output import execute
    from prefect_cvat.runs.track_task import new_track_run

    with given_server().connect() as client:
        run = new_track_run(
            client,
            task_id,
            loaded,
            options,
            track_options,
            shape_tracking_options,
            function_name=function.name,
        )
        execute(run, function.parameters, output)
