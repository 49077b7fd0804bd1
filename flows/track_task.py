"""The flow that makes tracks in one task."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow, get_run_logger
from pydantic import Field

from prefect_cvat.auto_annotation.loading import load_function, parse_parameters
from prefect_cvat.auto_annotation.track import new_track_run
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.existing import Existing
from prefect_cvat.follow_run import FollowOptions
from prefect_cvat.options import Options
from prefect_cvat.pipeline import run_pipeline
from prefect_cvat.plan import Selection
from prefect_cvat.progress import LoggedProgress
from prefect_cvat.report import RunReport
from prefect_cvat.tasks.limits import device_of, run_slots
from prefect_cvat.tasks.submitter import PrefectSubmitter
from prefect_cvat.track_options import TrackOptions

__all__ = ["track_task"]

Threshold = Annotated[float, Field(ge=0, le=1)]


@flow(
    name="track task",
    flow_run_name="track task {task_id} with {function}",
    persist_result=False,
    retries=0,
)
def track_task(
    task_id: Annotated[int, Field(ge=1)],
    credentials: CvatCredentials,
    function: str = "nanodet_detection",
    function_parameters: dict[str, str] | None = None,
    tracking: TrackOptions | None = None,
    following: FollowOptions | None = None,
    existing: Existing = Existing.KEEP,
    allow_unmatched_labels: bool = False,
    conf_threshold: Threshold | None = None,
    label_thresholds: dict[str, Threshold] | None = None,
    label_map: dict[str, str | None] | None = None,
    ignore_case: bool = False,
    on_frame_error: Literal["fail", "skip"] = "fail",
    frames: list[int] | None = None,
    jobs: list[int] | None = None,
    quality: Literal["original", "compressed"] = "original",
    batch_size: Annotated[int, Field(ge=1)] | None = None,
    downloads: Annotated[int, Field(ge=1, le=16)] = 1,
    use_cache: bool = True,
    refresh_cache: bool = False,
) -> RunReport:
    """Make tracks in a CVAT task, of what a detection function finds or of shapes that somebody has drawn.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A detection function (nanodet_detection), or a tracking function (optical_flow_tracking).
        function_parameters: Parameters of the function, each value as type:value, such as float:0.3.
        tracking: How detections become tracks; for a detection function.
        following: Which shapes are followed, and how far; for a tracking function.
        existing: What becomes of the annotations that the task has already; for a detection function.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conf_threshold: The least score, 0 to 1; empty leaves it to the function.
        label_thresholds: The least score for single labels, by the function's label names.
        label_map: From the function's label names to the task's, where they differ; null drops a label.
        ignore_case: Match label names without regard to upper and lower case.
        on_frame_error: Fail, or skip frames on which the function fails and report them.
        frames: The numbers of the frames to look at; empty for all.
        jobs: The numbers of the jobs to write to; empty for all.
        quality: Which images to fetch: the original ones, or smaller compressed ones.
        batch_size: How many frames a batch has at the most; empty adapts it to the function's speed.
        downloads: How many chunks are downloaded at a time.
        use_cache: Keep detections between runs, so that a run that died goes on where it was.
        refresh_cache: Detect everything anew, and keep that.

    Returns:
        What was done.
    """
    logger = get_run_logger()
    options = Options(
        selection=Selection(frames=frames, jobs=jobs),
        existing=existing,
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=label_map,
        conf_threshold=conf_threshold,
        label_thresholds=label_thresholds,
        ignore_case=ignore_case,
        on_frame_error=on_frame_error,
        quality=quality,
        batch_size=batch_size,
        downloads=downloads,
        use_cache=use_cache,
        refresh_cache=refresh_cache,
    )
    loaded = load_function(function, parse_parameters(function_parameters or {}))
    with credentials.get_client() as client:
        run = new_track_run(client, task_id, loaded, options, tracking, following, function_name=function)
        with run_slots(client.url, task_id, device_of(loaded)):
            report = run_pipeline(run, PrefectSubmitter(), LoggedProgress(logger.info))
    for line in report.lines():
        logger.info(line)
    return report
