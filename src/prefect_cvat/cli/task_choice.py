"""The options that choose several tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import click
from pydantic import Field

from prefect_cvat.cli.command import is_given
from prefect_cvat.options.option_base import OnCommandLine, OptionModel
from prefect_cvat.options.task_selection_options import TaskSelection

if TYPE_CHECKING:
    from prefect_cvat.cvat.client import Client

__all__ = ["ChosenTask", "TaskScope", "check_task_choice", "choose_tasks"]


class TaskScope(OptionModel):
    """The options that choose a project, or all tasks."""

    group: ClassVar[str] = TaskSelection.group

    project: Annotated[
        Annotated[int, Field(ge=1)] | None,
        OnCommandLine(metavar="ID"),
        Field(description="The tasks of this project, of which the other options select some."),
    ] = None
    all_tasks: Annotated[
        bool, Field(description="Instead of a project: all tasks that the user may see.")
    ] = False

    @property
    def is_given(self) -> bool:
        """Whether a project, or all tasks, were chosen."""
        return self.project is not None or self.all_tasks

    def check(self) -> None:
        """Check that either a project or all tasks are chosen.

        Raises:
            UsageError: Neither, or both.
        """
        if (self.project is None) is not self.all_tasks:
            raise click.UsageError("give one of --project ID and --all-tasks")


@dataclass(frozen=True)
class ChosenTask:
    """A task to work on.

    Attributes:
        id: Its id.
        jobs: The ids of the selected jobs; None if the selection does not name jobs.
    """

    id: int
    jobs: tuple[int, ...] | None = None


def check_task_choice(task_ids: Sequence[int], scope: TaskScope) -> None:
    """Check that either ids of tasks are given, or a project, or all tasks.

    Raises:
        UsageError: None of them, several, or a selection of tasks beside ids.
    """
    if not task_ids:
        if not scope.is_given:
            raise click.UsageError("give the ids of tasks, or --project ID, or --all-tasks")
        scope.check()
    elif scope.is_given:
        raise click.UsageError("give ids of tasks, or --project or --all-tasks, but not both")
    elif given := next((name for name in TaskSelection.model_fields if is_given(name)), None):
        flag = OnCommandLine.of(TaskSelection.model_fields[given]).flag or f"--{given.replace('_', '-')}"
        raise click.UsageError(f"{flag} selects among the tasks of --project or --all-tasks")


def choose_tasks(
    client: Client,
    task_ids: Sequence[int],
    scope: TaskScope,
    selection: TaskSelection,
    on_skipped: Callable[[str], object],
) -> Iterator[ChosenTask]:
    """The given tasks, each once, or those of the project that are selected.

    Args:
        client: The server.
        task_ids: The ids of the tasks, if they are given.
        scope: The project, or all tasks.
        selection: Which of these.
        on_skipped: Called with a message for each selected task that cannot be annotated.
    """
    if task_ids:
        yield from map(ChosenTask, dict.fromkeys(task_ids))
        return
    from prefect_cvat.planning.task_search import find_tasks

    for found in find_tasks(
        client,
        selection,
        scope.project,
        all_tasks=scope.all_tasks,
        on_skipped=lambda _, reason: on_skipped(reason),
    ):
        yield ChosenTask(found.task.id, found.jobs)
