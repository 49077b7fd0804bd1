"""Lists and registers webhooks of CVAT, and pings their receivers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.response_checks.response_parsing import parse_response

__all__ = [
    "EVENTS",
    "READY_EVENT",
    "Ping",
    "Registration",
    "Webhook",
    "known_events",
    "list_webhooks",
    "ping_webhook",
    "register_webhook",
]

READY_EVENT = "completed:request[create:task]"
"""Sent when the data of a task were processed, or failed to be (CVAT 2.73 and newer); `create:task` comes
before the data."""

EVENTS = (
    READY_EVENT,
    "create:task",
    "update:task",
    "delete:task",
    "create:job",
    "update:job",
    "delete:job",
    "create:project",
    "update:project",
    "delete:project",
)
"""Events that the receiver handles. A project's webhook cannot have `create:project`."""

MAX_SECRET = 64
"""Maximum length of a secret in CVAT 2.73."""

DESCRIPTION = "prefect-cvat"


class Webhook(BaseModel):
    """A webhook, without its secret, which the server never sends."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    target_url: str
    type: Literal["organization", "project"]
    project_id: int | None = None
    is_active: bool = True
    enable_ssl: bool = True
    events: frozenset[str] = frozenset()


class Ping(BaseModel):
    """The result of a ping.

    Attributes:
        status_code: The status of the receiver's response; CVAT reports 502 or 504 if there was none.
        response: The body of the response, or CVAT's error.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    status_code: int | None = None
    response: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver responded and accepted the signature."""
        return self.status_code is not None and 200 <= self.status_code < 300


class _Event(BaseModel):
    key: str


class _Events(BaseModel):
    events: list[_Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The result of registering a webhook.

    Attributes:
        webhook: The webhook as registered.
        action: The change made. The secret is sent even if nothing else changes.
        unknown: The requested events that this server does not know.
        ping: The result of a ping of the receiver.
    """

    webhook: Webhook
    action: Literal["created", "updated", "unchanged"]
    unknown: tuple[str, ...]
    ping: Ping

    def lines(self) -> list[str]:
        """Describe the result and the remaining steps."""
        webhook = self.webhook
        where = "the organization" if webhook.project_id is None else f"project {webhook.project_id}"
        lines = [
            f"webhook {webhook.id} of {where}, to {webhook.target_url}: {self.action}"
            f" ({', '.join(sorted(webhook.events))})"
        ]
        if READY_EVENT in self.unknown:
            lines.append(
                f"this server does not know {READY_EVENT}, which CVAT has since 2.73: schedule the flow"
                " `find new tasks`, which finds tasks that are ready"
            )
        elif self.unknown:
            lines.append(f"this server does not know {', '.join(self.unknown)}")
        lines.append(self._answer())
        return lines

    def _answer(self) -> str:
        ping, url = self.ping, self.webhook.target_url
        if ping.succeeded:
            return f"the receiver has answered a ping with {ping.status_code}"
        if ping.status_code == 401:
            return (
                "the receiver has refused the signature of a ping (401): it runs with another secret;"
                " restart `prefect-cvat webhooks`"
            )
        if ping.status_code is None or ping.status_code >= 500:
            return (
                f"no receiver has answered a ping ({ping.status_code}: {(ping.response or '')[:200]}): run"
                f" `prefect-cvat webhooks` where the server reaches it at {url}; CVAT sends nothing to"
                " addresses in private networks unless its administrator allows it"
            )
        return (
            f"the receiver has answered a ping with {ping.status_code};"
            f" is {url} the address of `prefect-cvat webhooks`?"
        )


def register_webhook(
    client: Client,
    target_url: str,
    secret: SecretStr,
    *,
    project_id: int | None = None,
    organization: str | None = None,
    events: Collection[str] = EVENTS,
    verify_tls: bool = True,
) -> Registration:
    """Make the server send the events of a project or an organization to a receiver. Safe to repeat.

    An existing webhook with the same target is updated. The secret is always sent, since the server never
    shows the current one.

    Args:
        client: A client whose user may manage these webhooks.
        target_url: The address at which the server reaches the receiver, such as
            `https://hooks.example.com/webhooks`.
        secret: The secret for signatures; the receiver must have the same one.
        project_id: The id of the project.
        organization: The short name of the organization, instead of a project.
        events: The events; those unknown to the server are left out.
        verify_tls: Whether the server verifies the receiver's certificate.

    Raises:
        ValueError: Neither or both of project and organization are given, or CVAT does not accept the secret.
    """
    if (project_id is None) == (organization is None):
        raise ValueError("a webhook belongs to a project or to an organization; give one of them")
    if not 1 <= len(secret.get_secret_value()) <= MAX_SECRET:
        raise ValueError(f"CVAT accepts secrets of 1 to {MAX_SECRET} characters; give another one")
    kind: Literal["organization", "project"] = "organization" if project_id is None else "project"
    params = {} if organization is None else {"org": organization}
    known = known_events(client, kind)
    settings: dict[str, Any] = {
        "target_url": target_url,
        "events": [event for event in events if event in known],
        "is_active": True,
        "enable_ssl": verify_tls,
        "content_type": "application/json",
        "secret": secret.get_secret_value(),
    }
    same = [
        webhook
        for webhook in list_webhooks(client, organization=organization)
        if webhook.target_url == target_url and webhook.type == kind and webhook.project_id == project_id
    ]
    action: Literal["created", "updated", "unchanged"]
    if same:
        before = min(same, key=lambda webhook: webhook.id)
        answer = client.json("PATCH", f"/api/webhooks/{before.id}", body=settings)
        webhook = parse_response(Webhook, answer, f"webhook {before.id}")
        action = "unchanged" if webhook == before else "updated"
    else:
        settings |= {"type": kind, "description": DESCRIPTION}
        if project_id is not None:
            settings["project_id"] = project_id
        answer = client.json("POST", "/api/webhooks", params=params, body=settings)
        webhook = parse_response(Webhook, answer, "the new webhook")
        action = "created"
    return Registration(
        webhook=webhook,
        action=action,
        unknown=tuple(
            event
            for event in events
            if event not in known and not (kind == "project" and event == "create:project")
        ),
        ping=ping_webhook(client, webhook.id),
    )


def list_webhooks(client: Client, *, organization: str | None = None) -> list[Webhook]:
    """The webhooks that the user may see, or those of one organization."""
    return list(
        client.iter_list(Webhook, "/api/webhooks", {} if organization is None else {"org": organization})
    )


def known_events(client: Client, kind: Literal["organization", "project"]) -> set[str]:
    """The events that webhooks of a project or an organization can have on this server."""
    answer = client.json("GET", "/api/webhooks/events", params={"type": kind})
    return {event.key for event in parse_response(_Events, answer, "webhooks/events").events}


def ping_webhook(client: Client, webhook_id: int) -> Ping:
    """Make the server ping the receiver of a webhook, and return the result."""
    return parse_response(Ping, client.json("POST", f"/api/webhooks/{webhook_id}/ping"), "a ping")
