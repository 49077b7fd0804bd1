"""The subcommand `refine`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from prefect_cvat.cli.options import (
    AsJson,
    Device,
    Downloads,
    DryRun,
    Frames,
    FunctionFile,
    FunctionModule,
    FunctionParameters,
    Jobs,
    MediaQuality,
    Quality,
    ReportFile,
    TaskId,
    load_chosen_function,
    read_selection,
)
from prefect_cvat.cli.output import carry_out, print_dry_run
from prefect_cvat.models import SourceEnum
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.refine_run import RefineRun

__all__ = ["refine"]


class Prompt(StrEnum):
    """Which shapes are refined."""

    RECTANGLE = "rectangle"
    POINTS = "points"


class Target(StrEnum):
    """What they become."""

    MASK = "mask"
    POLYGON = "polygon"


def refine(
    context: typer.Context,
    task_id: TaskId,
    function_name: Annotated[
        str | None,
        typer.Option("--function", metavar="NAME", help="A built-in, such as grabcut_interaction."),
    ] = None,
    function_module: FunctionModule = None,
    function_file: FunctionFile = None,
    parameters: FunctionParameters = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only shapes of this label; may be repeated.")
    ] = None,
    source: Annotated[
        list[SourceEnum] | None, typer.Option(help="Only shapes of this source; may be repeated.")
    ] = None,
    shape_type: Annotated[
        list[Prompt] | None, typer.Option(help="Only shapes of this type; may be repeated.")
    ] = None,
    to: Annotated[Target, typer.Option(help="What they become.")] = Target.MASK,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Pixels by which a polygon may be off its mask.")
    ] = 1.0,
    keep_originals: Annotated[
        bool, typer.Option("--keep-originals", help="Add what is found, and remove nothing.")
    ] = False,
    frames: Frames = None,
    jobs: Jobs = None,
    quality: Quality = MediaQuality.ORIGINAL,
    downloads: Downloads = 1,
    device: Device = None,
    report: ReportFile = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Turn rectangles and points of a task into masks or polygons.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        refine 123 --function grabcut_interaction --label car --source manual --to polygon
    """  # noqa: D301 (\b keeps click from joining the lines)
    function = load_chosen_function(function_name, function_module, function_file, parameters, device)
    options = Options(
        selection=read_selection(frames, jobs),
        quality=quality.value,
        downloads=downloads,
    )
    refining = RefineOptions(
        labels=label or None,
        sources=source or None,
        shape_types=shape_type or None,
        to=to.value,
        keep_originals=keep_originals,
        tolerance=tolerance,
    )
    name = function_name or function_module or str(function_file)
    with context.obj.connect() as client:
        run = RefineRun(client, task_id, function, options, refining, function_name=name)
        if dry_run:
            print_dry_run(run, as_json)
            return
        carry_out(run, parameters, report_file=report, as_json=as_json)
