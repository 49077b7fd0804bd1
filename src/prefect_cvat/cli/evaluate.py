"""The subcommand `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefect_cvat.cli.options import (
    AllowUnmatchedLabels,
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
from prefect_cvat.cli.output import keep_stdout_for_json, print_lines, progress_bar, stderr
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation import TaskEvaluation, evaluate_task
from prefect_cvat.evaluation.page import render_evaluation
from prefect_cvat.evaluation.tables import plain_lines
from prefect_cvat.evaluation.thresholds import choose_thresholds, write_thresholds
from prefect_cvat.evaluation.truth import TruthSource
from prefect_cvat.evaluation.worst import find_worst_frames, open_frames_of
from prefect_cvat.files.output_file import write_text
from prefect_cvat.frames import Quality as ChunkQuality
from prefect_cvat.options.run_options import Options

__all__ = ["evaluate"]


def evaluate(
    context: typer.Context,
    task_id: TaskId,
    function_name: FunctionName = None,
    function_module: FunctionModule = None,
    function_file: FunctionFile = None,
    parameters: FunctionParameters = None,
    left_by_run: Annotated[
        bool, typer.Option("--left-by-run", help="Evaluate what runs have left in the task (source auto).")
    ] = False,
    truth: Annotated[
        str,
        typer.Option(
            metavar="manual|ground-truth|task:ID",
            help="What to hold it against: what humans annotated in the task, its ground-truth job, or what"
            " humans annotated in another task of the same images.",
        ),
    ] = "manual",
    all_frames: Annotated[
        bool,
        typer.Option("--all-frames", help="Count frames also where no human has annotated anything."),
    ] = False,
    iou_threshold: Annotated[
        float, typer.Option(min=0.01, max=1, help="Least IoU of a prediction with its object.")
    ] = 0.5,
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least score that counts, but for average precision.")
    ] = 0.0,
    conf_threshold: ConfThreshold = None,
    allow_unmatched_labels: AllowUnmatchedLabels = False,
    conv_mask_to_poly: AsPolygons = False,
    label_map: LabelMapping = None,
    ignore_case: IgnoreCase = False,
    label_thresholds: LabelThresholds = None,
    on_frame_error: SkipFrames = OnFrameError.FAIL,
    frames: Frames = None,
    quality: Quality = MediaQuality.ORIGINAL,
    batch_size: BatchSize = None,
    downloads: Downloads = 1,
    use_cache: UseCache = True,
    refresh_cache: RefreshCache = False,
    device: Device = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write a page with plots and the worst frames, HTML.",
            callback=check_output_file,
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            "--thresholds",
            metavar="FILE",
            help="Write the score threshold of each label that is best by F1, for --label-thresholds.",
            callback=check_output_file,
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --thresholds: the lowest that reach this precision instead."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", callback=keep_stdout_for_json, help="Print the figures as JSON.")
    ] = False,
) -> None:
    """Hold what a function finds, or what runs have left, against what humans annotated. Nothing is written.

    All frames of a ground-truth job count; of a task those on which a human has annotated something.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --function nanodet_detection --allow-unmatched-labels \\
        --conf-threshold 0.05 --report evaluation.html
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --left-by-run --truth ground-truth
    """  # noqa: D301 (\b keeps click from joining the lines)
    source, truth_task_id = _read_truth(truth)
    chosen = [value for value in (function_name, function_module, function_file) if value is not None]
    if left_by_run == bool(chosen):
        raise typer.BadParameter("give a function, or --left-by-run")
    if precision is not None and thresholds is None:
        raise typer.BadParameter("--precision goes with --thresholds")
    function = (
        load_chosen_function(function_name, function_module, function_file, parameters, device)
        if chosen
        else None
    )
    options = Options(
        selection=read_selection(frames, None),
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
    with context.obj.connect() as client:
        with progress_bar("Detecting") as progress:
            done = evaluate_task(
                client,
                task_id,
                function,
                function_name=str(chosen[0]) if chosen else None,
                truth=source,
                truth_task_id=truth_task_id,
                all_frames=all_frames,
                options=options,
                iou_threshold=iou_threshold,
                score_threshold=score_threshold,
                progress=progress,
            )
        print_lines(plain_lines(done), done, as_json)  # whatever becomes of the files
        if thresholds is not None:
            write_thresholds(choose_thresholds(done, precision=precision), thresholds)
        if report is not None:
            write_text(report, _draw(client, done, options.quality))
    for what, file in (("drawn in", report), ("thresholds written to", thresholds)):
        if file is not None:
            stderr.print(f"{what} {file.resolve()}", markup=False)


def _read_truth(text: str) -> tuple[TruthSource, int | None]:
    match text.partition(":"):
        case ("manual", "", _):
            return "manual", None
        case ("ground-truth", "", _):
            return "ground_truth", None
        case ("task", ":", number) if number.isdecimal():
            return "task", int(number)
        case _:
            raise typer.BadParameter(
                f"{text!r} is none of manual, ground-truth and task:ID, such as task:42", param_hint="--truth"
            )


def _draw(client: Client, done: TaskEvaluation, quality: ChunkQuality) -> str:
    return render_evaluation(done, open_frames_of(client, done, find_worst_frames(done), quality))
