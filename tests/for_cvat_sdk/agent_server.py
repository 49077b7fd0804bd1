"""The part of CVAT Online that agents of `cvat-cli` use, before a sandbox: functions and their queues."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback_server import LoopbackHandler, loopback_server

_ABSENT = {
    "min_neg_points": -1,
    "startswith_box": False,
    "startswith_box_optional": False,
}
"""What CVAT fills in for an interactor."""


@dataclass
class AgentServer:
    """Annotation requests, and what agents answer.

    Attributes:
        url: The address.
        function: What `cvat-cli function create-native` has sent.
        waiting: Parameters of the requests that an agent is to get.
        answers: What it has completed, in order.
        failures: What it has said about requests that failed.
    """

    url: str = ""
    function: dict[str, Any] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def answer(self, path: str, body: Any) -> Any:
        if path == "/api/functions":
            self.function = {"id": 1, "owner": 1, **_ABSENT, **body}
            for label in self.function.get("labels_v2", ()):
                for each in (label, *label.get("sublabels", ())):
                    each.setdefault("type", "unknown")
        elif path.endswith("/acquire"):
            if not self.waiting or body["request_category"] != "batch":
                return {"ar_assignment": None}
            parameters = self.waiting.pop(0)
            if parameters.get("states") == "those of the last answer":
                parameters = {**parameters, "states": self.answers[-1]["states"]}
            return {"ar_assignment": {"ar_id": "request", "ar_params": parameters}}
        elif path.endswith("/complete"):
            self.answers.append(body)
        elif path.endswith("/fail"):
            self.failures.append(body["exc_info"])
        return self.function


@contextmanager
def agent_server(sandbox_url: str) -> Iterator[AgentServer]:
    server = AgentServer()

    class Handler(LoopbackHandler):
        def _answer(self) -> None:
            if re.match(r"/api/functions\b", self.path):
                body = self.read_body()
                self._send(
                    200, json.dumps(server.answer(self.path, json.loads(body or b"null"))).encode(), {}
                )
            else:
                reply = self.forward(sandbox_url)
                self._send(reply.status_code, reply.content, reply.headers)

        def _send(self, status: int, body: bytes, headers: Any) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() in ("content-type", "set-cookie", "x-request-id"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _answer

    with loopback_server(Handler) as server.url:
        yield server
