"""Making tracks in a task with a detection or a tracking function, from a script."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from prefect_cvat.auto_annotation.function_calls import read_spec
from prefect_cvat.cvat.client import Client
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.label_map import LabelMap
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.selection import Selection
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.progress import progress_on
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.track_detections_run import TrackDetectionsRun
from prefect_cvat.runs.track_shapes_run import TrackShapesRun

__all__ = ["track_task"]


def track_task(
    client: Client,
    task_id: int,
    function: Any,
    *,
    pbar: Any = None,
    tracking: TrackOptions | None = None,
    following: ShapeTrackingOptions | None = None,
    existing: Existing | Literal["keep", "clear", "replace_auto"] = Existing.KEEP,
    allow_unmatched_labels: bool = False,
    conf_threshold: float | None = None,
    conv_mask_to_poly: bool = False,
    model_attribute: str | None = "model",
    label_map: LabelMap | None = None,
    ignore_case: bool = False,
    label_thresholds: Mapping[str, float] | None = None,
    on_frame_error: Literal["fail", "skip"] = "fail",
    frames: Collection[int] | None = None,
    jobs: Collection[int] | None = None,
    quality: Literal["original", "compressed"] = "original",
    batch_size: int | None = None,
    downloads: int = 1,
    use_cache: bool = True,
    refresh_cache: bool = False,
    review_frames: int = 20,
    open_issues: int = 0,
) -> RunReport:
    """Make tracks in a task, in this process and without a Prefect server.

    With a detection function, objects are found on frame after frame, told apart, and written as tracks.
    With a tracking function, shapes that somebody has drawn are followed, and become tracks.

    Args:
        client: The server, logged in.
        task_id: The task: a video, or images that follow one another.
        function: A detection function or a tracking function.
        pbar: Shows the progress: a tqdm bar, or a progress reporter as the CVAT SDK has them.
        tracking: How detections become tracks.
        following: Which shapes a tracking function follows, and how far.
        existing: What becomes of the annotations that the task has already, see `annotate_task`. With a
            tracking function only `keep`.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conf_threshold: The least score, 0 to 1; None leaves it to the function.
        conv_mask_to_poly: Have polygons instead of masks.
        model_attribute: Where a label of the task has an attribute of this name, of type text, or select or
            radio with the name among its values, it gets the name of the detection function, with its
            `version` if it tells one; None for none.
        label_map: From the function's label names to the task's, where they differ; None drops a label.
        ignore_case: Match label names without regard to upper and lower case.
        label_thresholds: The least score for single labels, by the function's label names.
        on_frame_error: `fail`, or `skip` frames on which a detection function fails and report them.
        frames: Relative numbers of the frames to look at; None for all.
        jobs: Ids of the annotation jobs to write to; None for all.
        quality: Which images to fetch, see `annotate_task`.
        batch_size: How many frames a batch has at the most (but at least a chunk, or 75 frames of a larger
            one); None adapts it.
        downloads: How many chunks are downloaded at a time.
        use_cache: Keep detections between runs.
        refresh_cache: Detect everything anew, and keep that.
        review_frames: How many frames to report that should be looked at first, see `RunReport.review`.
        open_issues: On how many of them an issue is opened in CVAT, for the annotators to see; no frame
            gets a second one.

    Returns:
        What was done.

    Raises:
        BadFunctionError: The function does not fit the task or broke its contract. Nothing of the run
            is left on the server.
        UnsupportedTaskError: The task takes no tracks.
        PrefectCvatError: Something else failed.
    """
    options = Options(
        selection=Selection(frames=frames, jobs=jobs),
        existing=Existing(existing),
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=label_map,
        ignore_case=ignore_case,
        conf_threshold=conf_threshold,
        label_thresholds=label_thresholds,
        conv_mask_to_poly=conv_mask_to_poly,
        model_attribute=model_attribute,
        on_frame_error=on_frame_error,
        quality=quality,
        batch_size=batch_size,
        downloads=downloads,
        use_cache=use_cache,
        refresh_cache=refresh_cache,
        review_frames=review_frames,
        open_issues=open_issues,
    )
    run = new_track_run(client, task_id, function, options, tracking, following)
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))


def new_track_run(
    client: Client,
    task_id: int,
    function: Any,
    options: Options,
    tracking: TrackOptions | None = None,
    following: ShapeTrackingOptions | None = None,
    *,
    function_name: str | None = None,
) -> TrackDetectionsRun | TrackShapesRun:
    """The run that makes tracks with a function, by the kind that the function is of."""
    if hasattr(read_spec(function, "a function that makes tracks"), "supported_shape_types"):
        return TrackShapesRun(
            client,
            task_id,
            function,
            options,
            following or ShapeTrackingOptions(),
            function_name=function_name,
        )
    return TrackDetectionsRun(
        client, task_id, function, options, tracking or TrackOptions(), function_name=function_name
    )
