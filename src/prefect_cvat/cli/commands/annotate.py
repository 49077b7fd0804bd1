"""The command `annotate`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar

import click
from pydantic import Field

from prefect_cvat.cli.command import TaskIds, Without, command, is_given
from prefect_cvat.cli.console import keep_stdout_for_json
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.cli.task_choice import ChosenTask, TaskScope, check_task_choice, choose_tasks
from prefect_cvat.options.existing_annotation_options import Existing, ExistingOptions
from prefect_cvat.options.option_base import OptionModel
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.task_selection_options import TaskSelection

__all__ = ["annotate"]


class _Clearing(OptionModel):
    group: ClassVar[str] = ExistingOptions.group

    clear_existing: Annotated[bool, Field(description="Short for --existing clear.")] = False


@command
def annotate(
    task_ids: TaskIds,
    scope: TaskScope,
    selection: Annotated[TaskSelection, Without("without_finished_run")],
    function: FunctionChoice,
    options: Options,
    clearing: _Clearing,
    output: RunReportOptions,
) -> None:
    """Annotate tasks: those with the given ids, or those of a project that are selected.

    Several tasks are annotated one after the other. If one fails, the others are annotated all the same; the
    summary and the exit code say that.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function nanodet_detection --allow-unmatched-labels --conf-threshold 0.5
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function-file my_function.py -p size=int:640 --existing replace_auto --dry-run
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate --project 7 --job-state new --function nanodet_detection --allow-unmatched-labels
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    check_task_choice(task_ids, scope)
    if clearing.clear_existing:
        if options.existing is not Existing.CLEAR and is_given("existing"):
            raise click.BadParameter("--clear-existing contradicts --existing")
        options = options.changed(existing=Existing.CLEAR)
    if options.jobs is not None and len(task_ids) != 1:
        raise click.UsageError(
            "--jobs goes with one task; select jobs of several with --job-stage and --job-state"
        )
    output.check_pages(task_ids)
    loaded = function.load()
    from prefect_cvat.cli.run_output import execute
    from prefect_cvat.cli.several_tasks import execute_several
    from prefect_cvat.runs.annotate_run import AnnotateRun

    with given_server().connect() as client:

        def new_run(task: ChosenTask) -> AnnotateRun:
            of_task = options if task.jobs is None else options.changed(jobs=task.jobs)
            return AnnotateRun(client, task.id, loaded, of_task, function_name=function.name)

        if len(task_ids) == 1:
            execute(new_run(ChosenTask(task_ids[0])), function.parameters, output)
        else:
            chosen = partial(choose_tasks, client, task_ids, scope, selection)
            execute_several(chosen, new_run, function.parameters, output)
