"""A client of a sandbox with faults, and rules of faults."""

from typing import Any

import requests
from cvat_sdk.core.proxies.tasks import Task

from prefect_cvat.sandbox import Sandbox
from prefect_cvat.sandbox.faults.rules import Rule

VND = "application/vnd.cvat+json"


class Peer:
    """A client of one task, logged in by token."""

    def __init__(self, server: Sandbox, task: Task) -> None:
        self.server = server
        self.annotations = f"/api/tasks/{task.id}/annotations"
        self.data = f"/api/tasks/{task.id}/data"
        self.job = f"/api/jobs/{task.get_jobs()[0].id}"
        self._label_id = task.get_labels()[0].id
        self._token = ""
        self.log_in()

    def log_in(self) -> None:
        answer = requests.post(
            f"{self.server.url}/api/auth/login",
            json={"username": self.server.user, "password": self.server.password},
            timeout=10,
        )
        self._token = answer.json()["key"]

    def send(self, method: str, path: str, timeout: float = 10, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Token {self._token}", "Accept-Encoding": "identity"}
        return requests.request(method, self.server.url + path, headers=headers, timeout=timeout, **options)

    def about(self) -> requests.Response:
        return self.send("GET", "/api/server/about")

    def create(self, timeout: float = 10) -> requests.Response:
        shape = {"type": "rectangle", "frame": 0, "label_id": self._label_id, "points": [1, 2, 3, 4]}
        return self.send("PATCH", f"{self.annotations}?action=create", timeout, json={"shapes": [shape]})

    def shapes(self, count: int, first: int = 0) -> list[dict[str, Any]]:
        """As many rectangles, each in a place of its own."""
        return [
            {"type": "rectangle", "frame": 0, "label_id": self._label_id, "points": [n, 0, n + 1, 1]}
            for n in range(first, first + count)
        ]

    def every_kind(self, count: int) -> dict[str, Any]:
        """As many tags, shapes and tracks."""
        tag = {"frame": 0, "label_id": self._label_id}
        keyframe = {"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}
        return {
            "tags": [tag] * count,
            "shapes": self.shapes(count),
            "tracks": [{**tag, "shapes": [keyframe]}] * count,
        }

    def read(self, path: str | None = None) -> Any:
        return self.send("GET", path or self.annotations).json()

    def chunk(self, number: int = 0, **options: Any) -> requests.Response:
        return self.send("GET", f"{self.data}?type=chunk&quality=original&number={number}", **options)

    def kept(self) -> int:
        """How many shapes the server holds, asked past all faults."""
        self.server.faults.clear()
        return len(self.send("GET", self.annotations).json()["shapes"])


def rule(kind: str, *, path: str = "", **fields: Any) -> dict[str, Any]:
    """A rule with a fault: arguments that are not fields of a rule are fields of the fault."""
    own = {name: fields.pop(name) for name in Rule.model_fields if name in fields}
    return {"path": path, "fault": {"kind": kind, **fields}, **own}


def writes(kind: str, **fields: Any) -> dict[str, Any]:
    return rule(kind, methods=["PATCH"], path="/annotations$", **fields)


def statuses(peer: Peer, count: int) -> list[int]:
    return [peer.about().status_code for _ in range(count)]


KINDS = ("tags", "shapes", "tracks")


def ids(document: dict[str, Any]) -> set[tuple[str, int]]:
    return {(kind, item["id"]) for kind in KINDS for item in document[kind]}
