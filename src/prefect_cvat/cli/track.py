"""The subcommand `track`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from prefect_cvat.cli.options import (
    AllowUnmatchedLabels,
    AsJson,
    AsPolygons,
    BatchSize,
    ConfThreshold,
    Device,
    Downloads,
    DryRun,
    Frames,
    FunctionFile,
    FunctionModule,
    FunctionName,
    FunctionParameters,
    IgnoreCase,
    Jobs,
    LabelMapping,
    LabelThresholds,
    MediaQuality,
    ModelAttribute,
    OnFrameError,
    OpenIssues,
    Quality,
    RefreshCache,
    ReportFile,
    ReviewFrames,
    SkipFrames,
    TaskId,
    UseCache,
    load_chosen_function,
    read_object,
    read_selection,
)
from prefect_cvat.cli.output import carry_out, print_dry_run
from prefect_cvat.models import SourceEnum
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import Tracker, TrackOptions
from prefect_cvat.runs.track_task import new_track_run

__all__ = ["track"]

TRACKING = TrackOptions()


def track(
    context: typer.Context,
    task_id: TaskId,
    function_name: FunctionName = None,
    function_module: FunctionModule = None,
    function_file: FunctionFile = None,
    parameters: FunctionParameters = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Pixels by which boxes between keyframes may be off.")
    ] = TRACKING.tolerance,
    step: Annotated[int, typer.Option(min=1, help="Detect on every n-th frame.")] = TRACKING.step,
    min_length: Annotated[
        int,
        typer.Option(min=1, help="Least number of detections of a track."),
    ] = TRACKING.min_length,
    max_gap: Annotated[
        int,
        typer.Option(min=1, help="Frames after which a lost object is another one."),
    ] = TRACKING.max_gap,
    fill_gap: Annotated[
        int,
        typer.Option(min=0, help="Longest gap, in frames, to interpolate over."),
    ] = TRACKING.fill_gap,
    tracker: Annotated[Tracker, typer.Option(help="How objects are told apart.")] = TRACKING.tracker,
    high_confidence: Annotated[
        float,
        typer.Option(min=0, max=1, help="Score from which on a detection is matched first."),
    ] = TRACKING.high_confidence,
    activation: Annotated[
        float, typer.Option(min=0, max=1, help="Score that begins a track.")
    ] = TRACKING.activation,
    min_iou: Annotated[
        float,
        typer.Option(min=0, max=1, help="Least overlap of one object's boxes."),
    ] = TRACKING.min_iou,
    existing: Annotated[
        Existing,
        typer.Option(help="What becomes of the annotations that the task has."),
    ] = Existing.KEEP,
    allow_unmatched_labels: AllowUnmatchedLabels = False,
    conf_threshold: ConfThreshold = None,
    conv_mask_to_poly: AsPolygons = False,
    label_map: LabelMapping = None,
    ignore_case: IgnoreCase = False,
    label_thresholds: LabelThresholds = None,
    model_attribute: ModelAttribute = "model",
    on_frame_error: SkipFrames = OnFrameError.FAIL,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="Follow shapes of this label only."),
    ] = None,
    sources: Annotated[
        list[SourceEnum] | None,
        typer.Option(
            "--source",
            help="Follow shapes of this source only; by default those that a human made.",
        ),
    ] = None,
    direction: Annotated[
        Literal["forward", "backward", "both"],
        typer.Option(help="Which way to follow."),
    ] = "forward",
    until: Annotated[int | None, typer.Option(min=0, help="Frame to follow to.")] = None,
    keep_source_shapes: Annotated[
        bool,
        typer.Option(
            "--keep-source-shapes",
            help="Leave the shapes that have become tracks as well.",
        ),
    ] = False,
    frames: Frames = None,
    jobs: Jobs = None,
    quality: Quality = MediaQuality.ORIGINAL,
    batch_size: BatchSize = None,
    downloads: Downloads = 1,
    use_cache: UseCache = True,
    refresh_cache: RefreshCache = False,
    device: Device = None,
    review_frames: ReviewFrames = 20,
    open_issues: OpenIssues = 0,
    report: ReportFile = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make tracks: of what a detection function finds, or of shapes that somebody has drawn.

    A detection function (nanodet_detection) finds objects on frame after frame; they are told apart and
    written as tracks. A tracking function (optical_flow_tracking) tracks existing shapes: --label, --source,
    --direction, --until and --keep-source-shapes are for it, --step to --on-frame-error for the other kind.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        track 123 --function nanodet_detection --allow-unmatched-labels --step 2
      prefect-cvat --server-host cvat.example.com --auth alice \\
        track 123 --function optical_flow_tracking --label person --direction both
    """  # noqa: D301 (\b keeps click from joining the lines)
    function = load_chosen_function(function_name, function_module, function_file, parameters, device)
    options = Options(
        selection=read_selection(frames, jobs),
        existing=existing,
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=read_object(label_map, "--label-map"),
        ignore_case=ignore_case,
        conf_threshold=conf_threshold,
        label_thresholds=read_object(label_thresholds, "--label-thresholds"),
        conv_mask_to_poly=conv_mask_to_poly,
        model_attribute=model_attribute or None,
        on_frame_error=on_frame_error.value,
        quality=quality.value,
        batch_size=batch_size,
        downloads=downloads,
        use_cache=use_cache,
        refresh_cache=refresh_cache,
        review_frames=review_frames,
        open_issues=open_issues,
    )
    tracking = TrackOptions(
        step=step,
        min_length=min_length,
        max_gap=max_gap,
        fill_gap=fill_gap,
        tolerance=tolerance,
        tracker=tracker,
        high_confidence=high_confidence,
        activation=activation,
        min_iou=min_iou,
    )
    following = ShapeTrackingOptions(
        labels=labels or None,
        sources=sources or None,
        direction=direction,
        until=until,
        keep_source_shapes=keep_source_shapes,
        tolerance=tolerance,
    )
    name = function_name or function_module or str(function_file)
    with context.obj.connect() as client:
        run = new_track_run(client, task_id, function, options, tracking, following, function_name=name)
        if dry_run:
            print_dry_run(run, as_json)
            return
        carry_out(run, parameters, report_file=report, as_json=as_json)
