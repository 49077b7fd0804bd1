"""The subcommand `annotate`."""

from __future__ import annotations

from typing import Annotated

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
    ScoreAttribute,
    SkipExistingIou,
    SkipExistingSource,
    SkipFrames,
    TaskId,
    UseCache,
    load_chosen_function,
    read_existing,
    read_object,
    read_selection,
)
from prefect_cvat.cli.output import carry_out, print_dry_run
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun

__all__ = ["annotate"]


def annotate(
    context: typer.Context,
    task_id: TaskId,
    function_name: FunctionName = None,
    function_module: FunctionModule = None,
    function_file: FunctionFile = None,
    parameters: FunctionParameters = None,
    clear_existing: Annotated[
        bool, typer.Option("--clear-existing", help="Replace what the task has; same as --existing clear.")
    ] = False,
    existing: Annotated[
        Existing | None, typer.Option(help="What becomes of the annotations that the task has.")
    ] = None,
    skip_existing_iou: SkipExistingIou = None,
    skip_existing_source: SkipExistingSource = ExistingSource.MANUAL,
    allow_unmatched_labels: AllowUnmatchedLabels = False,
    conf_threshold: ConfThreshold = None,
    conv_mask_to_poly: AsPolygons = False,
    label_map: LabelMapping = None,
    ignore_case: IgnoreCase = False,
    label_thresholds: LabelThresholds = None,
    score_attribute: ScoreAttribute = "score",
    model_attribute: ModelAttribute = "model",
    on_frame_error: SkipFrames = OnFrameError.FAIL,
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
    """Annotate a task.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function nanodet_detection --allow-unmatched-labels --conf-threshold 0.5
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function-file my_function.py -p size=int:640 --existing replace_auto --dry-run
    """  # noqa: D301 (\b keeps click from joining the lines)
    function = load_chosen_function(function_name, function_module, function_file, parameters, device)
    options = Options(
        selection=read_selection(frames, jobs),
        existing=read_existing(existing, clear_existing),
        skip_existing_iou=skip_existing_iou,
        skip_existing_source=skip_existing_source,
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=read_object(label_map, "--label-map"),
        ignore_case=ignore_case,
        conf_threshold=conf_threshold,
        label_thresholds=read_object(label_thresholds, "--label-thresholds"),
        conv_mask_to_poly=conv_mask_to_poly,
        score_attribute=score_attribute or None,
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
    name = function_name or function_module or str(function_file)
    with context.obj.connect() as client:
        run = AnnotateRun(client, task_id, function, options, function_name=name)
        if dry_run:
            print_dry_run(run, as_json)
            return
        carry_out(run, parameters, report_file=report, as_json=as_json)
