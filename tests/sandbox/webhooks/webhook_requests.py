"""What the tests of webhooks send and read."""

from pathlib import Path
from typing import Any

from cvat_sdk import Client, models
from cvat_sdk.core.proxies.tasks import Task

from sandbox.sandbox_http import Http
from sandbox.webhook_receiver import Receiver

SECRET = "what the signatures are made with"

RECTANGLE = {"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}

EVERY_EVENT = [
    *(f"{action}:{resource}" for resource in ("task", "job") for action in ("create", "update", "delete")),
    "update:project",
    "completed:request[create:task]",
]


def make_project(http: Http, name: str = "p", **headers: str) -> int:
    body = {"name": name, "labels": [{"name": "car"}]}
    return int(http.json("POST", "/api/projects", body, status=201, **headers)["id"])


def make_webhook(http: Http, url: str, project: int | None, *events: str, **changes: Any) -> dict[str, Any]:
    body = {
        "target_url": url,
        "type": "project",
        "project_id": project,
        "events": list(events or EVERY_EVENT),
        "secret": SECRET,
        **changes,
    }
    found: dict[str, Any] = http.json("POST", "/api/webhooks", body, status=201)
    return found


def make_task(client: Client, project: int, pictures: list[Path], **parameters: Any) -> Task:
    spec = models.TaskWriteRequest(name="t", project_id=project, **parameters)
    return client.tasks.create_from_data(spec, pictures[:4])


def rename(http: Http, task: int, name: str) -> None:
    http.json("PATCH", f"/api/tasks/{task}", {"name": name})


def empty_task(http: Http, project: int | None) -> int:
    return int(http.json("POST", "/api/tasks", {"name": "t", "project_id": project}, status=201)["id"])


def deliveries(http: Http, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    """Oldest first."""
    found = http.json("GET", f"/api/webhooks/{webhook['id']}/deliveries?page_size=all")["results"]
    return list(reversed(found))


def received(receiver: Receiver, event: str) -> list[dict[str, Any]]:
    return [one.body for one in receiver.wait_for_events(event) if one.event == event]
