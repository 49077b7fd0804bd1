"""The command `saved`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import click
from pydantic import Field

from prefect_cvat.cli.command import TASK_ID, Without, command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines
from prefect_cvat.cli.report_options import JsonOption
from prefect_cvat.cli.server import given_server
from prefect_cvat.cli.task_choice import TaskScope
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.correction_options import CorrectionSeconds
from prefect_cvat.options.option_base import OnCommandLine

if TYPE_CHECKING:
    from prefect_cvat.corrections import SavedTime
    from prefect_cvat.cvat.client import Client

__all__ = ["saved"]


class _Output(JsonOption):
    looked_at: Annotated[
        str | None,
        OnCommandLine(metavar="RANGES"),
        Field(
            description=(
                "Frames that somebody has looked at, such as 0-99,150, besides those with corrections and"
                " those of completed jobs."
            )
        ),
    ] = None


@command
def saved(
    task_id: Annotated[int | None, click.Argument(["task_id"], type=TASK_ID, required=False)],
    scope: TaskScope,
    seconds: Annotated[CorrectionSeconds, Without("accepted_iou")],
    output: _Output,
) -> None:
    """Estimate the time that runs have saved the people who correct a task, or a project.

    What runs wrote is compared with what is there now, on frames that somebody has looked at. Each action
    takes the stated seconds. Runs are recorded in PREFECT_CVAT_RUNS_DIR.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice saved 123
      prefect-cvat --server-host cvat.example.com --auth alice saved --project 7 --draw-box 25.5
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    if (task_id is not None) is scope.is_given:
        raise click.UsageError("give the id of a task, or --project ID, or --all-tasks")
    if output.looked_at is not None and task_id is None:
        raise click.UsageError("--looked-at names frames of one task: give its id")
    looked_at = NumberRanges.parse(output.looked_at) if output.looked_at else NumberRanges()
    from prefect_cvat.corrections import saved_time

    with given_server().connect() as client:
        if task_id is None:
            done = _saved_in_project(client, scope, seconds)
        else:
            done = saved_time(client, task_id, seconds=seconds, looked_at=looked_at)
    print_lines(done.lines(), done, output.as_json)


def _saved_in_project(client: Client, scope: TaskScope, seconds: CorrectionSeconds) -> SavedTime:
    from prefect_cvat.corrections.project_savings import saved_in_tasks
    from prefect_cvat.options.task_selection_options import TaskSelection
    from prefect_cvat.planning.task_search import list_tasks

    scope.check()
    found = list_tasks(client, TaskSelection(), scope.project, all_tasks=scope.all_tasks)
    name = "all tasks" if scope.project is None else f"project {scope.project}"
    url = f"{client.url}/tasks" if scope.project is None else f"{client.url}/projects/{scope.project}"
    return saved_in_tasks(client, (task.id for task in found), name=name, url=url, seconds=seconds)
