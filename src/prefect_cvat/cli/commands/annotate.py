"""The command `annotate`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import click
from pydantic import Field

from prefect_cvat.cli.command import TaskId, command, is_given
from prefect_cvat.cli.console import keep_stdout_for_json
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.existing_annotation_options import Existing, ExistingOptions
from prefect_cvat.options.option_model import OptionModel
from prefect_cvat.options.run_options import Options

__all__ = ["annotate"]


class _Clearing(OptionModel):
    group: ClassVar[str] = ExistingOptions.group

    clear_existing: Annotated[bool, Field(description="Short for --existing clear.")] = False


@command
def annotate(
    task_id: TaskId,
    function: FunctionChoice,
    options: Options,
    clearing: _Clearing,
    output: RunReportOptions,
) -> None:
    """Annotate a task.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function nanodet_detection --allow-unmatched-labels --conf-threshold 0.5
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function-file my_function.py -p size=int:640 --existing replace_auto --dry-run
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    if clearing.clear_existing:
        if options.existing is not Existing.CLEAR and is_given("existing"):
            raise click.BadParameter("--clear-existing contradicts --existing")
        options = options.changed(existing=Existing.CLEAR)
    loaded = function.load()
    from prefect_cvat.cli.run_output import execute
    from prefect_cvat.runs.annotate_run import AnnotateRun

    with given_server().connect() as client:
        run = AnnotateRun(client, task_id, loaded, options, function_name=function.name)
        execute(run, function.parameters, output)
