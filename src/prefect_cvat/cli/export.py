"""The subcommand `export`."""

from __future__ import annotations

from pathlib import Path
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
    Frames,
    FunctionFile,
    FunctionModule,
    FunctionName,
    FunctionParameters,
    IgnoreCase,
    LabelMapping,
    LabelThresholds,
    MediaQuality,
    OnFrameError,
    Quality,
    RefreshCache,
    SkipFrames,
    TaskId,
    UseCache,
    check_output_file,
    load_chosen_function,
    read_object,
    read_selection,
)
from prefect_cvat.cli.output import print_lines, progress_bar
from prefect_cvat.export import DatasetFormat, export_task
from prefect_cvat.files.output_file import write_text
from prefect_cvat.options.run_options import Options

__all__ = ["export"]


def export(
    context: typer.Context,
    task_id: TaskId,
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="Where the dataset goes; new, or an empty folder.")
    ],
    dataset_format: Annotated[
        DatasetFormat, typer.Option("--format", help="Format of the dataset; yolo is that of Ultralytics.")
    ] = DatasetFormat.COCO,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Write the images too.")] = True,
    function_name: FunctionName = None,
    function_module: FunctionModule = None,
    function_file: FunctionFile = None,
    parameters: FunctionParameters = None,
    left_by_run: Annotated[
        bool, typer.Option("--left-by-run", help="Export what runs have left in the task (source auto).")
    ] = False,
    conf_threshold: ConfThreshold = None,
    allow_unmatched_labels: AllowUnmatchedLabels = False,
    conv_mask_to_poly: AsPolygons = False,
    label_map: LabelMapping = None,
    ignore_case: IgnoreCase = False,
    label_thresholds: LabelThresholds = None,
    on_frame_error: SkipFrames = OnFrameError.FAIL,
    frames: Frames = None,
    jobs: Annotated[
        str | None, typer.Option("--jobs", metavar="IDS", help="Jobs whose frames to export: 12,13.")
    ] = None,
    quality: Quality = MediaQuality.ORIGINAL,
    batch_size: BatchSize = None,
    downloads: Downloads = 1,
    use_cache: UseCache = True,
    refresh_cache: RefreshCache = False,
    device: Device = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write the report as JSON to this file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what a function finds, or what is in the task, as a dataset. Nothing is written to the server.

    Without a function, all annotations of the task are exported, or with --left-by-run those of runs. What
    a run has found before, with the same function and settings, is not detected again.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        export 123 --function nanodet_detection --allow-unmatched-labels \\
        --conf-threshold 0.5 --format yolo --to dataset
      prefect-cvat --server-host cvat.example.com --auth alice export 123 --format coco --to dataset
    """  # noqa: D301 (\b keeps click from joining the lines)
    if report is not None and report.resolve().parent != to.resolve():  # that folder is made by the export
        check_output_file(report)
    chosen = [value for value in (function_name, function_module, function_file) if value is not None]
    if left_by_run and chosen:
        raise typer.BadParameter("give a function or --left-by-run, not both")
    thresholds = (conf_threshold, label_thresholds, label_map, parameters, device)
    if not chosen and any(value is not None for value in thresholds):
        raise typer.BadParameter("thresholds, --label-map, -p and --device go with a function; name one")
    function = (
        load_chosen_function(function_name, function_module, function_file, parameters, device)
        if chosen
        else None
    )
    options = Options(
        selection=read_selection(frames, jobs),
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=read_object(label_map, "--label-map"),
        ignore_case=ignore_case,
        conf_threshold=conf_threshold,
        label_thresholds=read_object(label_thresholds, "--label-thresholds"),
        conv_mask_to_poly=conv_mask_to_poly,
        on_frame_error=on_frame_error.value,
        quality=quality.value,
        batch_size=batch_size,
        downloads=downloads,
        use_cache=use_cache,
        refresh_cache=refresh_cache,
    )
    with context.obj.connect() as client, progress_bar("Exporting") as progress:
        done = export_task(
            client,
            task_id,
            function,
            folder=to,
            format=dataset_format,
            images=images,
            left_by_runs=left_by_run,
            function_name=str(chosen[0]) if chosen else None,
            options=options,
            progress=progress,
        )
    print_lines(done.lines(), done, as_json)
    if report is not None:
        write_text(report, done.model_dump_json(indent=2))
