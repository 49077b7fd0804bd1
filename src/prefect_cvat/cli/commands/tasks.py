"""The command `tasks`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel

from prefect_cvat.cli.command import Without, command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines, stderr
from prefect_cvat.cli.report_options import JsonOption
from prefect_cvat.cli.server import given_server
from prefect_cvat.cli.task_choice import TaskScope
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.messages.plurals import format_counts, pluralize
from prefect_cvat.options.task_selection_options import TaskSelection

if TYPE_CHECKING:
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.models import Task
    from prefect_cvat.planning.task_search import FoundTask

__all__ = ["tasks"]


class _Output(JsonOption):
    plan: Annotated[
        bool,
        Field(
            description=(
                "Show also what a run would do: which frames and jobs it would annotate, and what it would"
                " leave out. This takes about five requests for each task."
            )
        ),
    ] = False


class PlannedFrames(BaseModel):
    """What a run on a task would do.

    Attributes:
        frames: The number of frames that it would annotate.
        jobs: The ids of the jobs that it would write to.
        left_out: The number of other frames, by reason.
    """

    model_config = ConfigDict(extra="forbid")

    frames: int
    jobs: list[int]
    left_out: dict[str, int]


class ListedTask(BaseModel):
    """A task.

    Attributes:
        id: Its id.
        name: Its name.
        status: `annotation`, `validation` or `completed`.
        frames: The number of its frames; None if it has no data yet.
        jobs: The number of its jobs.
        jobs_completed: The number of its jobs that have been accepted.
        assignee: The user who is to work on it, if any.
        updated: When it was changed last.
        url: Its address.
        plan: What a run on it would do, with `--plan`.
    """

    model_config = ConfigDict(extra="forbid")

    id: int
    name: str
    status: str
    frames: int | None
    jobs: int
    jobs_completed: int
    assignee: str | None
    updated: datetime | None
    url: str
    plan: PlannedFrames | None = None

    def lines(self) -> list[str]:
        """The task as lines for a terminal."""
        frames = "no data yet" if self.frames is None else pluralize(self.frames, "frame")
        updated = "" if self.updated is None else f"  changed {self.updated:%Y-%m-%d %H:%M} UTC"
        assignee = "" if self.assignee is None else f"  {self.assignee}"
        lines = [
            f"{self.id}  {one_line(self.name)}  {self.status}  {frames}"
            f"  {self.jobs_completed} of {pluralize(self.jobs, 'job')} accepted{assignee}{updated}"
        ]
        if self.plan is not None:
            left_out = f"; left out: {format_counts(self.plan.left_out)}" if self.plan.left_out else ""
            lines.append(
                f"  would annotate {pluralize(self.plan.frames, 'frame')}"
                f" in {pluralize(len(self.plan.jobs), 'job')}{left_out}"
            )
        return lines


@command
def tasks(
    scope: TaskScope,
    selection: Annotated[TaskSelection, Without("without_finished_run")],
    output: _Output,
) -> None:
    """List tasks, and show what a run on them would do.

    The same options of `annotate` select the same tasks. Conditions on jobs and frames imply --plan.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice tasks --project 7 --status annotation
      prefect-cvat --server-host cvat.example.com --auth alice tasks --project 7 --job-state new --plan
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    scope.check()
    listed: list[ListedTask] = []
    with given_server().connect() as client:
        for task in _listed(client, scope, selection, with_plan=output.plan or _needs_plan(selection)):
            listed.append(task)
            if not output.as_json:
                print_lines(task.lines(), task, as_json=False)
    if output.as_json:
        print_lines([], RootModel[list[ListedTask]](listed), as_json=True)
    else:
        stderr.print(pluralize(len(listed), "task"), markup=False)


def _needs_plan(selection: TaskSelection) -> bool:
    return bool(selection.job_stages or selection.job_states or selection.with_unannotated_frames)


def _listed(
    client: Client, scope: TaskScope, selection: TaskSelection, *, with_plan: bool
) -> Iterator[ListedTask]:
    from prefect_cvat.planning.task_search import find_tasks, list_tasks

    if not with_plan:
        for task in list_tasks(client, selection, scope.project, all_tasks=scope.all_tasks):
            yield _list(client, task)
        return
    found = find_tasks(
        client,
        selection,
        scope.project,
        all_tasks=scope.all_tasks,
        on_skipped=lambda _, reason: stderr.print(f"left out: {reason}", markup=False),
    )
    for each in found:
        yield _list(client, each.task, each)


def _list(client: Client, task: Task, found: FoundTask | None = None) -> ListedTask:
    return ListedTask(
        id=task.id,
        name=task.name,
        status=task.status,
        frames=task.size,
        jobs=0 if task.jobs is None else task.jobs.count,
        jobs_completed=0 if task.jobs is None else task.jobs.completed,
        assignee=None if task.assignee is None else task.assignee.username,
        updated=task.updated_date,
        url=f"{client.url}/tasks/{task.id}",
        plan=None if found is None else _plan_of(found),
    )


def _plan_of(found: FoundTask) -> PlannedFrames:
    from prefect_cvat.options.frame_options import Selection
    from prefect_cvat.planning.plan import make_plan

    plan = found.plan if found.jobs is None else make_plan(found.plan.info, Selection(jobs=found.jobs))
    return PlannedFrames(
        frames=len(plan.frames),
        jobs=[job.id for job in plan.jobs],
        left_out={why.value: len(frames) for why, frames in plan.excluded.items()},
    )
