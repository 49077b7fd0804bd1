"""Makes tracks in a task with a detection function or a tracking function."""

from __future__ import annotations

from typing import Any, Unpack, cast

from prefect_cvat.auto_annotation.function_calls import read_spec
from prefect_cvat.auto_annotation.function_for_task import ForTask, FunctionForTask, wait_for_labels
from prefect_cvat.auto_annotation.interface import DetectionFunction, TrackingFunction
from prefect_cvat.auto_annotation.labels_for_factories import labels_of_task
from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.options.keyword_types import TrackKeywords, documented
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.planning.plan import read_task
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.progress_bar import progress_on
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.runs.track_detections_run import TrackDetectionsRun
from prefect_cvat.runs.track_objects_run import TrackObjectsRun
from prefect_cvat.runs.track_shapes_run import TrackShapesRun

__all__ = ["track_task"]


@documented(TrackKeywords, Options)
def track_task(
    client: AnyClient,
    task_id: int,
    function: DetectionFunction | TrackingFunction[Any, Any] | ForTask,
    *,
    pbar: Any = None,
    track_options: TrackOptions | None = None,
    shape_tracking_options: ShapeTrackingOptions | None = None,
    **options: Unpack[TrackKeywords],
) -> RunReport:
    """Make tracks in a task, in this process and without a Prefect server.

    With a detection function, detections are associated to tracks, unless it follows the objects itself, see
    `VideoDetectionFunction`. With a tracking function, existing shapes are tracked over the frames.

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task: a video, or consecutive images.
        function: A detection function or a tracking function, or a factory with a parameter `task_labels`.
        pbar: Shows the progress: a tqdm bar, or a progress reporter of the CVAT SDK.
        track_options: How the detections of a detection function become tracks.
        shape_tracking_options: Which shapes a tracking function tracks, and how far.
        options: The options of a run, as `Options` defines them.

    Returns:
        The report of the run.

    Raises:
        BadFunctionError: The function does not fit the task or broke its contract. The annotations of the
            run are removed from the server.
        UnsupportedTaskError: The task does not support tracks.
        PrefectCvatError: Any other failure.
    """
    client = own_client(client)
    run = new_track_run(
        client, task_id, function, Options.from_keywords(options), track_options, shape_tracking_options
    )
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))


def new_track_run(
    client: Client,
    task_id: int,
    function: DetectionFunction | TrackingFunction[Any, Any] | ForTask,
    options: Options,
    track_options: TrackOptions | None = None,
    shape_tracking_options: ShapeTrackingOptions | None = None,
    *,
    function_name: str | None = None,
) -> TrackDetectionsRun | TrackShapesRun:
    """Make the run for a detection function or a tracking function; its spec says which."""
    function = wait_for_labels(function)
    try:
        return _new_run(
            client, task_id, function, options, track_options, shape_tracking_options, function_name
        )
    except BaseException:
        if isinstance(function, FunctionForTask) and function.is_of_run:
            function.close()  # there is no run that closes it at its end
        raise


def _new_run(
    client: Client,
    task_id: int,
    function: Any,
    options: Options,
    track_options: TrackOptions | None,
    shape_tracking_options: ShapeTrackingOptions | None,
    function_name: str | None,
) -> TrackDetectionsRun | TrackShapesRun:
    made: Any = function
    if isinstance(function, FunctionForTask):
        info = read_task(client, task_id, options.selection)
        made = function.make(labels_of_task(info.labels), options.prompts)
    if hasattr(read_spec(made, "a function that makes tracks"), "supported_shape_types"):
        return TrackShapesRun(
            client,
            task_id,
            cast("TrackingFunction[Any, Any]", function),
            options,
            shape_tracking_options or ShapeTrackingOptions(),
            function_name=function_name,
        )
    kind = TrackObjectsRun if hasattr(made, "begin_video") else TrackDetectionsRun
    return kind(
        client,
        task_id,
        cast("DetectionFunction", function),
        options,
        track_options or TrackOptions(),
        function_name=function_name,
    )
