"""Parses the body of a webhook of CVAT: an event, a ping, or the reason to ignore it.

Ignored are unknown events, updates by the user of the credentials, and updates that change only dates.
"""

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

AUTOMATIC_DATES = frozenset({"updated_date", "assignee_updated_date"})
"""Dates that CVAT updates by itself. Each write of annotations changes `updated_date` of the job, its task
and its project; `assignee_updated_date` changes together with the assignee."""

_PAST = {"create": "created", "update": "updated", "delete": "deleted"}


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping, with which CVAT tests the webhook."""

    webhook_id: int | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A webhook without an event, and the reason."""

    reason: str


def body_digest(body: bytes) -> str:
    """The digest of a body. CVAT sends the same bytes when it repeats a webhook."""
    return hashlib.sha256(body).hexdigest()


def read_webhook(
    body: bytes, *, server: str, ignored_users: Collection[str], received: datetime
) -> Event | Ping | Ignored:
    """Parse a webhook.

    Args:
        body: The raw body, with a valid signature.
        server: The URL of the CVAT server. The body has the URL by which some user has reached it.
        ignored_users: The names of users whose updates are ignored, so that runs do not trigger runs.
        received: When the webhook was received.

    Raises:
        InvalidResponseError: The body is not a webhook of CVAT.
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
        return Ignored(f"unknown event {event[:100]!r}")
    further = {}
    if action == "update":
        sender = _mapping(webhook.get("sender")).get("username")
        if isinstance(sender, str) and sender in ignored_users:
            return Ignored(f"{event} by the ignored user {sender}")
        changed = _changed(webhook)
        if changed is not None:
            if changed <= AUTOMATIC_DATES:
                return Ignored(f"{event} changes only dates")
            further["changed"] = ",".join(sorted(changed - AUTOMATIC_DATES))
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
    """The event of a background request that has ended. Its webhook has no sender and no name of the task."""
    request = _read(_Request, webhook, "request")
    operation = request.operation
    task = TaskState(id=operation.task_id, project_id=operation.project_id, organization=operation.org_id)
    if request.status == "finished":
        return task_event(READY, task, server, event_id=event_id, occurred=received)
    if request.status == "failed":
        return task_failed(task, server, request.message, event_id=event_id, occurred=received)
    return Ignored(f"{READY_EVENT} has status {request.status[:100]!r}")


def _changed(webhook: Mapping[str, Any]) -> set[str] | None:
    """The names of the fields that an update has changed, or None if the webhook does not have them.

    CVAT 2.73 sends both `changes` and `before_update`, older servers only the second, newer ones neither.
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
            f"the body of {webhook['event']} is not valid: {where}: {problem['msg']}"
        ) from None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
