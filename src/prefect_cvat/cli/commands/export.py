"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import click
from pydantic import Field, model_validator

from prefect_cvat.cli.command import TaskId, Without, command
from prefect_cvat.cli.commands.evaluate import NOT_WRITTEN
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import JsonOption, check_output_file
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.export_options import ExportOptions
from prefect_cvat.options.option_base import OnCommandLine
from prefect_cvat.options.run_options import Options

__all__ = ["export"]


class _Exported(ExportOptions):
    to: Annotated[
        Path,
        OnCommandLine(metavar="FOLDER"),
        Field(description="The folder of the dataset; it is new or empty."),
    ]
    report: Annotated[
        Path | None,
        OnCommandLine(metavar="FILE"),
        Field(description="Write the report as JSON to this file; it may be in the folder."),
    ] = None

    @model_validator(mode="after")
    def _check_report(self) -> Self:
        if self.report is not None and self.report.resolve().parent != self.to.resolve():
            check_output_file(self.report)  # the export creates the folder of the dataset
        return self


@command
def export(
    task_id: TaskId,
    exported: _Exported,
    function: Annotated[FunctionChoice, Without("exemplars")],
    options: Annotated[Options, Without(*NOT_WRITTEN)],
    output: JsonOption,
) -> None:
    """Export detections of a function, or the annotations of a task, as a dataset.

    Nothing is written to the server. Without a function, all annotations of the task are exported, or with
    --left-by-run those of runs. Cached detections of a run with the same function and settings are used.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        export 123 --function nanodet_detection --allow-unmatched-labels \\
        --conf-threshold 0.5 --format yolo --to dataset
      prefect-cvat --server-host cvat.example.com --auth alice export 123 --format coco --to dataset
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    report = None if exported.report is None else exported.report.resolve()
    if exported.left_by_runs and function.is_made:
        raise click.BadParameter("give a function or --left-by-run, not both")
    for_functions = (
        *(options.prompts, options.conf_threshold, options.label_thresholds, options.label_map),
        *(function.function_parameter, function.device, function.batch_size),
    )
    if not function.is_made and any(for_functions):
        raise click.BadParameter(
            "--prompts, thresholds, --label-map, -p, --device and --batch-size go with a function; name one"
        )
    loaded = function.load() if function.is_made else None
    from prefect_cvat.cli.run_output import progress_bar
    from prefect_cvat.export import export_task
    from prefect_cvat.files.output_file import write_text

    with given_server().connect() as client, progress_bar("Exporting") as progress:
        done = export_task(
            client,
            task_id,
            loaded,
            folder=exported.to,
            format=exported.format,
            images=exported.images,
            left_by_runs=exported.left_by_runs,
            function_name=function.name if function.is_made else None,
            options=options,
            progress=progress,
        )
    print_lines(done.lines(), done, output.as_json)
    if report is not None:
        write_text(report, done.model_dump_json(indent=2))
