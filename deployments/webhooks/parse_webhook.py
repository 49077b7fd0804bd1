"""From the body of a CVAT webhook to an event, or to the reason why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from prefect.events import Event
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from prefect_cvat.cvat.webhooks import READY_EVENT
from prefect_cvat.events.cvat_events import (
    READY,
    Id,
    JobState,
    ProjectState,
    TaskState,
    deterministic_id,
    job_event,
    project_event,
    task_event,
    task_failed,
)
from prefect_cvat.exceptions import InvalidResponseError

__all__ = ["Ignored", "Ping", "body_digest", "read_webhook"]

State = TypeVar("State", bound=BaseModel)

BOOKKEEPING = frozenset({"updated_date", "assignee_updated_date"})
"""What CVAT notes by itself. Each write of annotations changes the first of them, on job, task and project;
the second one only ever comes along with another assignee."""

_PAST = {"create": "created", "update": "updated", "delete": "deleted"}


@dataclass(frozen=True, slots=True)
class Ping:
    """CVAT tries whether anyone is there."""

    webhook_id: int | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing is to happen, and why."""

    reason: str


def body_digest(body: bytes) -> str:
    """What a delivery is known by: CVAT sends the same bytes when it tries again."""
    return hashlib.sha256(body).hexdigest()


def read_webhook(
    body: bytes, *, server: str, senders: Collection[str], received: datetime
) -> Event | Ping | Ignored:
    """What a webhook means.

    Args:
        body: The raw body, whose signature has been checked.
        server: The address of the CVAT server. That in the body is the one by which some user reached it.
        senders: The names of users whose updates are ignored: what we write must not trigger us again.
        received: When it came.

    Raises:
        InvalidResponseError: It is not what CVAT sends.
    """
    try:
        webhook = from_json(body)
    except ValueError as error:
        raise InvalidResponseError(f"the body is not JSON: {error}") from None
    if not isinstance(webhook, dict) or not isinstance(webhook.get("event"), str):
        raise InvalidResponseError("the body is not a JSON object with the name of an event")
    event: str = webhook["event"]
    if event == "ping":
        webhook_id = _mapping(webhook.get("webhook")).get("id")
        return Ping(webhook_id if isinstance(webhook_id, int) else None)
    event_id = deterministic_id(server, f"webhooks/{body_digest(body)}")
    if event == READY_EVENT:
        return _request_event(webhook, server, event_id, received)
    action, _, resource = event.partition(":")
    if action not in _PAST or resource not in ("task", "job", "project"):
        return Ignored(f"event {event[:100]!r} is not known")
    further = {}
    if action == "update":
        sender = _mapping(webhook.get("sender")).get("username")
        if isinstance(sender, str) and sender in senders:
            return Ignored(f"{event} by {sender}, who is ignored")
        changed = _changed(webhook)
        if changed is not None:
            if changed <= BOOKKEEPING:
                return Ignored(f"{event} has changed nothing but dates")
            further["changed"] = ",".join(sorted(changed - BOOKKEEPING))
    name = f"cvat.{resource}.{_PAST[action]}"
    if resource == "task":
        task = _read(TaskState, webhook, "task")
        return task_event(name, task, server, event_id=event_id, occurred=received, **further)
    if resource == "job":
        job = _read(JobState, webhook, "job")
        return job_event(name, job, server, event_id=event_id, occurred=received, **further)
    project = _read(ProjectState, webhook, "project")
    return project_event(name, project, server, event_id=event_id, occurred=received, **further)


class _Operation(BaseModel):
    task_id: Id
    project_id: Id | None = None
    org_id: Id | None = None


class _Request(BaseModel):
    status: str
    message: str = ""
    operation: _Operation


def _request_event(
    webhook: Mapping[str, Any], server: str, event_id: UUID, received: datetime
) -> Event | Ignored:
    """The event of a request that has ended. Of the task it says little: no name, and no sender."""
    request = _read(_Request, webhook, "request")
    operation = request.operation
    task = TaskState(id=operation.task_id, project_id=operation.project_id, organization=operation.org_id)
    if request.status == "finished":
        return task_event(READY, task, server, event_id=event_id, occurred=received)
    if request.status == "failed":
        return task_failed(task, server, request.message, event_id=event_id, occurred=received)
    return Ignored(f"{READY_EVENT} has status {request.status[:100]!r}")


def _changed(webhook: Mapping[str, Any]) -> set[str] | None:
    """The names of what an update has changed, or None where the server does not tell.

    CVAT 2.73 tells them twice; older servers have only `before_update`, and newer ones neither.
    """
    for name in ("changes", "before_update"):
        if isinstance(webhook.get(name), dict):
            return set(webhook[name])
    return None


def _read(model: type[State], webhook: Mapping[str, Any], name: str) -> State:
    try:
        return model.model_validate(webhook.get(name))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, (name, *problem["loc"])))
        raise InvalidResponseError(
            f"{webhook['event']} is not what CVAT sends: {where}: {problem['msg']}"
        ) from None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
