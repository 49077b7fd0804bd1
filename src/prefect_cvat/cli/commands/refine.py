"""The command `refine`."""

from __future__ import annotations

from typing import Annotated

from prefect_cvat.cli.command import Only, TaskId, command
from prefect_cvat.cli.console import keep_stdout_for_json
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options

__all__ = ["refine"]


@command
def refine(
    task_id: TaskId,
    function: FunctionChoice,
    refine_options: RefineOptions,
    options: Annotated[Options, Only("frames", "jobs", "quality", "frames_per_batch", "downloads")],
    output: RunReportOptions,
) -> None:
    """Turn rectangles and points of a task into masks or polygons.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        refine 123 --function grabcut_interaction --label car --source manual --to polygon
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    output.check_pages([task_id])
    loaded = function.load()
    from prefect_cvat.cli.run_output import execute
    from prefect_cvat.runs.refine_run import RefineRun

    with given_server().connect() as client:
        run = RefineRun(client, task_id, loaded, options, refine_options, function_name=function.name)
        execute(run, function.parameters, output)
