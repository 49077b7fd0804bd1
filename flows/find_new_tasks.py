"""The flow that finds tasks whose data have become ready, for servers whose webhooks do not tell.

It emits the event that the receiver of webhooks emits, with the same id, so that both may be at work.
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
from prefect_cvat.events.cvat_events import TaskState, server_slug, slug, task_ready
from prefect_cvat.events.send_events import emit_events
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.planning.task_search import check_project_is_visible, check_scope

__all__ = ["find_new_tasks"]

MAX_WAITING = 400
"""Tasks without data that are remembered. A Prefect Variable holds 5000 characters."""

LONGEST_WAIT = timedelta(days=30)
"""How long a task may be without data before it is forgotten."""

PAGE_SIZE = 100


@flow(name="find new tasks", flow_run_name="find new tasks", persist_result=False)
def find_new_tasks(
    credentials: CvatCredentials,
    project_id: Annotated[int, Field(ge=1)] | None = None,
    since_hours: Annotated[float, Field(ge=0)] = 24.0,
    all_tasks: bool = False,
) -> list[int]:
    """Find tasks whose data have become ready since the last look, and emit `cvat.task.ready` once for each.

    To be scheduled every few minutes, one run at a time. What has been seen is kept in a Prefect Variable.

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
        # users see different tasks: what one of them has seen is not what another one has
        user = None if project_id is not None else client.user().username
        name = _variable_name(credentials, project_id, user)
        before = _recall(name)
        waiting = _tasks_by_id(client, before.waiting) if before is not None and before.waiting else []
        look = _look(
            before,
            _newest_tasks(client, project_id),
            waiting,
            since=now - timedelta(hours=since_hours),
            patience=now - LONGEST_WAIT,
        )
    emit_events([task_ready(task, credentials.url, now) for task in look.ready])
    # only now: who dies before finds them again, and emits the same events with the same ids
    if look.after != before:
        Variable.set(name, look.after.model_dump(), overwrite=True)
    for task in look.ready:
        logger.info("task %d (%s) is ready", task.id, task.name)
    if look.given_up:
        logger.warning("tasks %s are no longer waited for", ", ".join(map(str, look.given_up)))
    return [task.id for task in look.ready]


class _Seen(BaseModel):
    """What is remembered: data may come long after a task was made, so the highest id is not enough."""

    model_config = ConfigDict(frozen=True)

    highest: int
    waiting: list[int]


@dataclass(frozen=True, slots=True)
class _Look:
    ready: list[TaskState]
    after: _Seen
    given_up: list[int]


def _look(
    before: _Seen | None,
    newest: Iterable[TaskState],
    waiting: Iterable[TaskState],
    *,
    since: datetime,
    patience: datetime,
) -> _Look:
    """What has become ready.

    Args:
        before: What was remembered; None at the first look.
        newest: The tasks, newest first; only as many are taken as are new.
        waiting: Those that had no data at the last look, as they are now.
        since: The first look takes tasks that were made after this time.
        patience: Tasks without data are waited for if they were made after this time.
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
    kept = [task.id for task in without_data if _created(task) > patience][-MAX_WAITING:]
    return _Look(
        ready=[task for task in looked_at if task.is_ready],
        after=_Seen(highest=highest, waiting=kept),
        given_up=[task.id for task in without_data if task.id not in kept],
    )


def _created(task: TaskState) -> datetime:
    return datetime.fromisoformat(task.created_date)


def _newest_tasks(client: Client, project_id: int | None) -> Iterator[TaskState]:
    """The tasks from the newest on.

    Each page is asked for by the id that it begins below: numbered pages shift when a task is deleted.
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
    """Those of the tasks that are still there."""
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
        raise InvalidResponseError(f"the server's list of tasks is not what CVAT sends: {error}") from None


class _Page(BaseModel):
    results: list[TaskState]


def _variable_name(credentials: CvatCredentials, project_id: int | None, user: str | None) -> str:
    """One for each set of tasks that is looked at."""
    name = f"cvat_new_tasks_{server_slug(credentials.url)}"
    if credentials.organization:
        name += f"_{slug(credentials.organization)}"
    return f"{name}_of_{slug(user)}" if user is not None else f"{name}_project_{project_id}"


def _recall(name: str) -> _Seen | None:
    value = Variable.get(name)
    if value is None:
        return None
    try:
        return _Seen.model_validate(value)
    except ValidationError:
        raise ValueError(
            f"the Prefect Variable {name} is not what this flow has put there; delete it, and the next run"
            " looks since_hours back again"
        ) from None
