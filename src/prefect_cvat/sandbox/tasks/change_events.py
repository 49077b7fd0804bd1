"""Write transactions that queue webhook events for changed projects, tasks and jobs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.accounts.users import basic_user
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.representations import job_json, project_json, task_json
from prefect_cvat.sandbox.webhook_delivery import delivery_queue, webhook_events
from prefect_cvat.sandbox.webhook_delivery.webhook_events import EventScope

_SHOWN = {"project": project_json, "task": task_json, "job": job_json}
_OF_PROJECTS = "IN (SELECT project_id FROM webhook WHERE is_active AND type = 'project')"
_OF_ORGANIZATIONS = (
    "organization_id IN (SELECT organization_id FROM webhook WHERE is_active AND type = 'organization')"
)
# The updated dates of everything that an active webhook could subscribe to.
_DATES: Mapping[str, str] = {
    resource: f"SELECT {resource}.id, {resource}.updated_date FROM {tables}"  # noqa: S608 - constants
    f" WHERE {project_id} {_OF_PROJECTS} OR {_OF_ORGANIZATIONS}"
    for resource, tables, project_id in (
        ("project", "project", "id"),
        ("task", "task", "project_id"),
        ("job", "job JOIN task ON task.id = job.task_id", "project_id"),
    )
}
# The names of the columns in CVAT, as in `before_update` and `changes`.
_COLUMNS: Mapping[str, Sequence[str]] = {
    "project": ("updated_date", "assignee_updated_date", "name", "owner_id", "assignee_id", "bug_tracker"),
    "task": (
        "updated_date",
        "assignee_updated_date",
        "name",
        "mode",
        "owner_id",
        "assignee_id",
        "bug_tracker",
        "overlap",
        "segment_size",
        "status",
        "data_id",
        "subset",
    ),
    "job": ("updated_date", "assignee_updated_date", "assignee_id", "status", "stage", "state"),
}


@dataclass(frozen=True, kw_only=True)
class _Change:
    action: Literal["create", "update", "delete"]
    resource: str
    old: Row | None
    new: Row | None

    @property
    def event(self) -> str:
        return f"{self.action}:{self.resource}"

    @property
    def scope(self) -> EventScope:
        row = self.new or self.old
        assert row is not None
        project_id = row["id" if self.resource == "project" else "project_id"]
        return EventScope(project_id=project_id, organization_id=row["organization_id"])


@contextmanager
def write_and_notify(call: Call) -> Iterator[Connection]:
    """Open a write transaction, and at its end queue webhook events for what has changed.

    The events are queued in the same transaction, so they describe exactly what is committed. Several changes
    of one object in one request are one event; CVAT may send several.
    """
    with call.state.database.write() as db:
        yield db
        if webhook_events.has_active_webhook(db):
            # There is one writer at a time, so a reader still sees the state before.
            with call.state.database.read() as before:
                for change in _changes(before, db):
                    _notify(call, change, before, db)
    call.state.sender.wake()


def _changes(before: Connection, after: Connection) -> list[_Change]:
    changes = {
        resource: list(_changes_of(resource, before, after)) for resource in ("project", "task", "job")
    }
    every = [change for found in changes.values() for change in found]
    made = [change for change in every if change.action == "create"]
    # CVAT saves and deletes the job first, then its task, then its project.
    return made + [change for change in sorted(every, key=_depth) if change.action != "create"]


def _depth(change: _Change) -> int:
    return ("job", "task", "project").index(change.resource)


def _changes_of(resource: str, before: Connection, after: Connection) -> Iterator[_Change]:
    old = {row["id"]: row["updated_date"] for row in before.execute(_DATES[resource])}
    new = {row["id"]: row["updated_date"] for row in after.execute(_DATES[resource])}
    for number in sorted(old.keys() | new.keys()):
        if old.get(number) != new.get(number):
            yield _Change(
                action="create" if number not in old else "update" if number in new else "delete",
                resource=resource,
                old=permissions.row_of(before, resource, number),
                new=permissions.row_of(after, resource, number),
            )


def _notify(call: Call, change: _Change, before: Connection, after: Connection) -> None:
    webhooks = webhook_events.subscribers(after, change.event, change.scope)
    if not webhooks:
        return
    shown = _SHOWN[change.resource]
    if change.new is not None:
        body: Json = {change.resource: shown(call, after, change.new)}
    else:
        assert change.old is not None
        body = {change.resource: shown(call, before, change.old)}
    body["sender"] = basic_user(call, after, call.user.id)
    if change.old is not None and change.new is not None:
        body |= _differences(change.resource, change.old, change.new)
    for webhook in webhooks:
        body_of_event = {"event": change.event, "webhook_id": webhook["id"], **body}
        delivery_queue.queue(after, webhook["id"], json.dumps(body_of_event))


def _differences(resource: str, old: Row, new: Row) -> Json:
    changed = [name for name in _COLUMNS[resource] if old[name] != new[name]]
    return {
        "before_update": {name: old[name] for name in changed},
        "changes": {name: {"from": old[name], "to": new[name]} for name in changed},
    }
