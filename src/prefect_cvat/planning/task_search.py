"""Searches the tasks of a server to annotate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.task_requests import check_annotatable
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NoDataError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedTaskError,
)
from prefect_cvat.messages.bounded_text import shorten
from prefect_cvat.models import Job, Task
from prefect_cvat.options.task_selection_options import TaskSelection
from prefect_cvat.planning.annotated_frames import shown_frames
from prefect_cvat.planning.plan import Plan, make_plan, read_task

__all__ = [
    "FoundTask",
    "check_project_is_visible",
    "check_scope",
    "find_tasks",
    "has_unannotated_frames",
    "list_tasks",
]


_TASK_ERRORS = (NoDataError, UnsupportedTaskError, NotFoundError, PermissionDeniedError, InvalidResponseError)
"""Errors that concern only one task, such as a task that was deleted meanwhile."""


@dataclass(frozen=True)
class FoundTask:
    """A task to annotate.

    Attributes:
        task: The task.
        plan: What a run on it would do.
        jobs: The ids of the jobs to annotate; None for all.
    """

    task: Task
    plan: Plan
    jobs: tuple[int, ...] | None


def check_scope(project_id: int | None, all_tasks: bool) -> None:
    """Check that either a project or `all_tasks` is given: a missing id must not select all projects.

    Raises:
        ValueError: Neither is given, or both.
    """
    if project_id is None and not all_tasks:
        raise ValueError(
            "no project is given; set project_id, or all_tasks=True for all tasks that the user may see"
        )
    if project_id is not None and all_tasks:
        raise ValueError(
            f"project_id={project_id} and all_tasks=True contradict each other; leave all_tasks out for the"
            " tasks of the project, or project_id for all that the user may see"
        )


def check_project_is_visible(client: Client, project_id: int) -> None:
    """Check that a project exists, for a user who may see only some of its tasks.

    Raises:
        NotFoundError: There is no such project.
        OrganizationError: It is not in the organization that the client works in.
        PermissionDeniedError: The user may see neither the project nor a task of it.
    """
    if not client.json("GET", "/api/tasks", params={"project_id": project_id, "page_size": 1})["count"]:
        client.check_project(project_id)


def find_tasks(
    client: Client,
    selection: TaskSelection,
    project_id: int | None = None,
    *,
    all_tasks: bool = False,
    is_done: Callable[[Task], bool] = lambda _: False,
    on_skipped: Callable[[Task, str], object] = lambda *_: None,
) -> Iterator[FoundTask]:
    """Find the selected tasks that can be annotated, oldest first. Each is read when it is asked for.

    Args:
        client: The server.
        selection: Which tasks.
        project_id: The id of their project.
        all_tasks: Search all tasks that the user may see, instead of a project.
        is_done: Whether a task needs nothing; called before anything about it is read.
        on_skipped: Called with each task that cannot be annotated, and a message that says why.

    Raises:
        ValueError: Neither a project nor `all_tasks` is given, or both.
        OrganizationError: The project is not in the organization that the client works in.
        NotFoundError: There is no such project.
        PermissionDeniedError: The user may not see it.
    """
    tasks = list_tasks(client, selection, project_id, all_tasks=all_tasks)
    return (
        found
        for task in tasks
        if not is_done(task) and (found := _plan(client, task, selection, on_skipped)) is not None
    )


def list_tasks(
    client: Client, selection: TaskSelection, project_id: int | None = None, *, all_tasks: bool = False
) -> list[Task]:
    """List tasks that fulfil the conditions on tasks, not on jobs, frames or runs; oldest first.

    Args:
        client: The server.
        selection: The conditions.
        project_id: The id of their project.
        all_tasks: List all tasks that the user may see, instead of a project.

    Raises:
        ValueError: Neither a project nor `all_tasks` is given, or both.
        OrganizationError: The project is not in the organization that the client works in.
        NotFoundError: There is no such project.
        PermissionDeniedError: The user may not see it.
    """
    check_scope(project_id, all_tasks)
    tasks = client.tasks(**_filters(selection, project_id))
    if not tasks and project_id is not None:
        check_project_is_visible(client, project_id)
    pattern = selection.name_pattern
    return [task for task in tasks if pattern is None or fnmatchcase(task.name, pattern)]


def _plan(
    client: Client, task: Task, selection: TaskSelection, on_skipped: Callable[[Task, str], object]
) -> FoundTask | None:
    """Plan a task; None if it is not selected, or cannot be annotated."""
    try:
        check_annotatable(task)
        plan = make_plan(read_task(client, task.id))
        jobs = [job for job in plan.jobs if _is_wanted(job, selection)]
        if selection.with_unannotated_frames and not any(
            has_unannotated_frames(client, plan, job) for job in jobs
        ):
            return None
    except _TASK_ERRORS as error:
        on_skipped(task, shorten(f"task {task.id}: {error}"))
        return None
    if not jobs:
        return None
    return FoundTask(task, plan, None if len(jobs) == len(plan.jobs) else tuple(job.id for job in jobs))


def has_unannotated_frames(client: Client, plan: Plan, job: Job) -> bool:
    """Whether a job has frames to annotate without annotations."""
    open_frames = {frame.number for frame in plan.frames_between(job.start_frame, job.stop_frame)}
    for _, annotation in client.iter_job_annotations(job.id):
        if not open_frames:
            break
        open_frames -= shown_frames(annotation, job.stop_frame)
    return bool(open_frames)


def _filters(selection: TaskSelection, project_id: int | None) -> dict[str, Any]:
    """The query for CVAT's list of tasks; conditions without a simple filter are JSON logic."""
    filters: dict[str, Any] = {}
    if project_id is not None:
        filters["project_id"] = project_id
    if selection.assignee is not None:
        filters["assignee"] = selection.assignee
    rules: list[Any] = []
    if selection.statuses:
        rules.append({"in": [{"var": "status"}, list(selection.statuses)]})
    since = [
        moment for moment in (selection.updated_since, _days_ago(selection.updated_within_days)) if moment
    ]
    rules += [{">=": [{"var": "updated_date"}, moment.astimezone(UTC).isoformat()]} for moment in since]
    if rules:
        filters["filter"] = json.dumps({"and": rules})
    return filters


def _days_ago(days: float | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) - timedelta(days=days)


def _is_wanted(job: Job, selection: TaskSelection) -> bool:
    return (not selection.job_stages or job.stage in selection.job_stages) and (
        not selection.job_states or job.state in selection.job_states
    )
