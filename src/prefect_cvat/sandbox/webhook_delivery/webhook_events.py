"""The events of webhooks, and which webhooks subscribe to an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_cvat.sandbox.storage.database import Connection, Row

_SAVED: Mapping[str, Sequence[str]] = {
    "project": ("create", "update", "delete"),
    "task": ("create", "update", "delete"),
    "job": ("create", "update", "delete"),
    "issue": ("create", "update", "delete"),
    "comment": ("create", "update", "delete"),
    "organization": ("update",),
    "invitation": ("create", "delete"),
    "membership": ("create", "update", "delete"),
}
_REQUESTS: Mapping[str, str] = {
    "export:annotations": "Dataset export",
    "export:dataset": "Dataset export",
    "export:backup": "Backup export",
    "create:task": "Task data creation",
    "merge:task": "Consensus merge",
    "merge:job": "Consensus merge",
    "calculate:quality": "Quality report creation",
}
# Event names in CVAT's order, with the groups under which its UI lists them.
_OF_ORGANIZATIONS: Mapping[str, str] = {
    f"{action}:{resource}": resource.capitalize()
    for resource, actions in _SAVED.items()
    for action in actions
} | {f"completed:request[{kind}]": group for kind, group in _REQUESTS.items()}
_OF_PROJECTS: Mapping[str, str] = {
    key: group
    for key, group in _OF_ORGANIZATIONS.items()
    if group not in ("Project", "Organization", "Invitation", "Membership")
} | {"update:project": "Project", "delete:project": "Project"}
EVENTS: Mapping[str, Mapping[str, str]] = {
    "project": _OF_PROJECTS,
    "organization": _OF_ORGANIZATIONS,
    "all": _OF_ORGANIZATIONS,
}


@dataclass(frozen=True, kw_only=True)
class EventScope:
    """The project and the organization of an event: their webhooks may subscribe to it."""

    project_id: int | None
    organization_id: int | None


def events_json(webhook_type: str) -> dict[str, Any]:
    """The events of a type of webhook, as the API returns them."""
    return {
        "webhook_type": webhook_type,
        "events": [
            {"key": key, "group": {"display_name": group}} for key, group in EVENTS[webhook_type].items()
        ],
    }


def has_active_webhook(db: Connection) -> bool:
    """Whether any webhook is active."""
    return db.execute("SELECT 1 FROM webhook WHERE is_active LIMIT 1").fetchone() is not None


def subscribers(db: Connection, event: str, scope: EventScope) -> list[Row]:
    """The active webhooks that subscribe to an event."""
    return db.execute(
        "SELECT * FROM webhook WHERE is_active"
        " AND (type = 'project' AND project_id = ? OR type = 'organization' AND organization_id = ?)"
        " AND EXISTS (SELECT 1 FROM json_each(webhook.events) WHERE value = ?) ORDER BY id",
        (scope.project_id, scope.organization_id, event),
    ).fetchall()
