"""The flow that finds tasks whose data are ready, for CVAT servers that send no webhook for that.

It emits the same event, with the same id, as the webhook receiver; so both can be used together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.variables import Variable
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.events.cvat_events import TaskState, task_ready
from prefect_cvat.events.send_events import emit_events
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.form_titles_and_choices import form
from prefect_cvat.http.server_url import server_slug, slug
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.task_search import check_project_is_visible, check_scope

__all__ = ["find_new_tasks"]

MAX_WAITING = 400
"""The maximum number of tasks without data to remember. A Prefect Variable holds 5000 characters."""

LONGEST_WAIT = timedelta(days=30)
"""A task without data is forgotten this long after its creation."""

PAGE_SIZE = 100


@flow(name="find new tasks", flow_run_name="find new tasks", persist_result=False)
@form
def find_new_tasks(
    credentials: CvatCredentials,
    project_id: Annotated[int, Field(ge=1)] | None = None,
    since_hours: Annotated[float, Field(ge=0)] = 24.0,
    all_tasks: bool = False,
) -> list[int]:
    """Find tasks whose data have become ready since the last look, and emit `cvat.task.ready` once for each.

    To be scheduled every few minutes, one run at a time. Known tasks are stored in a Prefect variable.

    Args:
        credentials: The block that says how to log in to CVAT.
        project_id: The number of the project whose tasks are looked at.
        since_hours: How many hours back the very first run looks, by the date when tasks were made.
        all_tasks: In place of a project, all tasks that the user may see, of any project or none.

    Returns:
        The numbers of the tasks that have become ready.

    Raises:
        ValueError: Neither a project nor `all_tasks` is given, or both.
    """
    check_scope(project_id, all_tasks)
    logger = get_run_logger()
    now = datetime.now(UTC)
    with credentials.get_client() as client:
        if project_id is not None:
            check_project_is_visible(client, project_id)
        # users see different tasks, so each has a variable of his own
        user = None if project_id is not None else client.user().username
        name = _variable_name(credentials, project_id, user)
        before = _load_seen(name)
        waiting = _tasks_by_id(client, before.waiting) if before is not None and before.waiting else []
        found = _find_new(
            before,
            _newest_tasks(client, project_id),
            waiting,
            since=now - timedelta(hours=since_hours),
            forget_before=now - LONGEST_WAIT,
        )
    emit_events([task_ready(task, credentials.url, now) for task in found.ready])
    # after the events were emitted: a run that dies earlier is repeated, and emits the same event ids
    if found.after != before:
        Variable.set(name, found.after.model_dump(), overwrite=True)
    for task in found.ready:
        logger.info("task %d (%s) is ready", task.id, task.name)
    if found.given_up:
        logger.warning(
            "tasks %s have had no data for 30 days, and are forgotten", ", ".join(map(str, found.given_up))
        )
    return completed(
        [task.id for task in found.ready], f"{pluralize(len(found.ready), 'task')} ready for annotation"
    )


class _Seen(BaseModel):
    """The state between runs. The highest id is not enough: data may come long after a task was created."""

    model_config = ConfigDict(frozen=True)

    highest: int
    waiting: list[int]


@dataclass(frozen=True, slots=True)
class _NewTasks:
    ready: list[TaskState]
    after: _Seen
    given_up: list[int]


def _find_new(
    before: _Seen | None,
    newest: Iterable[TaskState],
    waiting: Iterable[TaskState],
    *,
    since: datetime,
    forget_before: datetime,
) -> _NewTasks:
    """The tasks that have become ready since the last run.

    Args:
        before: The state that the last run has saved; None at the first run.
        newest: The tasks, newest first; read only as far as they are new.
        waiting: The tasks that had no data at the last run, as they are now.
        since: The first run considers tasks created after this time.
        forget_before: Tasks without data that were created before this time are forgotten.
    """
    looked_at = list(waiting)
    highest = 0 if before is None else before.highest
    for task in newest:
        highest = max(highest, task.id)
        if _created(task) < since if before is None else task.id <= before.highest:
            break
        looked_at.append(task)
    looked_at.sort(key=lambda task: task.id)
    without_data = [task for task in looked_at if not task.is_ready]
    kept = [task.id for task in without_data if _created(task) > forget_before][-MAX_WAITING:]
    return _NewTasks(
        ready=[task for task in looked_at if task.is_ready],
        after=_Seen(highest=highest, waiting=kept),
        given_up=[task.id for task in without_data if task.id not in kept],
    )


def _created(task: TaskState) -> datetime:
    return datetime.fromisoformat(task.created_date)


def _newest_tasks(client: Client, project_id: int | None) -> Iterator[TaskState]:
    """The tasks, newest first.

    Each page is requested by the lowest id of the page before: page numbers shift when a task is deleted.
    """
    below: int | None = None
    params: dict[str, str | int] = {} if project_id is None else {"project_id": project_id}
    while True:
        if below is not None:
            params["filter"] = json.dumps({"<": [{"var": "id"}, below]})
        page = _list_tasks(client, params)
        yield from page
        if len(page) < PAGE_SIZE:
            return
        below = page[-1].id


def _tasks_by_id(client: Client, ids: Sequence[int]) -> list[TaskState]:
    """The tasks with these ids, without those that were deleted."""
    found = []
    for start in range(0, len(ids), PAGE_SIZE):
        rule = {"in": [{"var": "id"}, list(ids[start : start + PAGE_SIZE])]}
        found += _list_tasks(client, {"filter": json.dumps(rule)})
    return found


def _list_tasks(client: Client, params: Mapping[str, str | int]) -> list[TaskState]:
    answer = client.json("GET", "/api/tasks", params={**params, "sort": "-id", "page_size": PAGE_SIZE})
    try:
        return _Page.model_validate(answer).results
    except ValidationError as error:
        raise InvalidResponseError(
            f"the response to GET /api/tasks is not a list of tasks: {error}"
        ) from None


class _Page(BaseModel):
    results: list[TaskState]


def _variable_name(credentials: CvatCredentials, project_id: int | None, user: str | None) -> str:
    """The name of the variable for a project, or for all tasks that a user may see."""
    name = f"cvat_new_tasks_{server_slug(credentials.url)}"
    if credentials.organization:
        name += f"_{slug(credentials.organization)}"
    return f"{name}_of_{slug(user)}" if user is not None else f"{name}_project_{project_id}"


def _load_seen(name: str) -> _Seen | None:
    value = Variable.get(name)
    if value is None:
        return None
    try:
        return _Seen.model_validate(value)
    except ValidationError:
        raise ValueError(
            f"the Prefect Variable {name} has a value that this flow has not written; delete the variable,"
            " and the next run looks back since_hours again"
        ) from None
