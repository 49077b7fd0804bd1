"""A gateway that answers what a test tells it to, and notes what it was asked."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat.sandbox import Nuclio

INVOCATIONS = "/api/function_invocations"


@dataclass(frozen=True)
class Answer:
    """What the gateway answers: a JSON value, or text as it is.

    Attributes:
        body: The value, or text.
        status: The status; None closes the connection without an answer.
        reason: The reason phrase.
        after: Seconds until it answers.
        blanks: Blanks before the body, one each tenth of a second.
        content_type: The media type.
    """

    body: Any = None
    status: int | None = 200
    reason: str | None = None
    after: float = 0
    blanks: int = 0
    content_type: str = "application/json"


@dataclass(frozen=True)
class Asked:
    """A request of CVAT."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def function(self) -> str | None:
        return self.headers.get("x-nuclio-function-name")


@dataclass
class StandInGateway:
    """The gateway.

    Attributes:
        url: Its address.
        records: The records of functions by name; other JSON to answer just that.
        invoke: Answers a call, given its number (from 0) since `clear` and the request.
        asked: The requests so far.
    """

    url: str = ""
    records: Any = field(default_factory=dict)
    invoke: Callable[[int, Asked], Answer] = lambda number, asked: Answer([])
    list_answer: Answer | None = None
    asked: list[Asked] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def settings(self) -> Nuclio:
        return Nuclio(port=self.port)

    @property
    def calls(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def clear(self) -> None:
        self.asked.clear()

    def answer(self, asked: Asked) -> Answer:
        number = len(self.calls)
        self.asked.append(asked)
        if asked.method == "POST":
            return self.invoke(number, asked)
        if asked.path == "/api/functions":
            return self.list_answer or Answer(self.records)
        name = asked.path.rpartition("/")[2]
        found = [each for each in self.records.values() if each["metadata"]["name"] == name]
        return Answer(found[0]) if found else Answer({"error": f"Function not found: nuclio:{name}"}, 404)


def record(name: str, /, kind: str = "detector", labels: Any = (), **notes: Any) -> dict[str, Any]:
    """A record of a function, as Nuclio has it."""
    return {
        "metadata": {
            "name": name,
            "namespace": "nuclio",
            "annotations": {"name": name, "type": kind, "spec": json.dumps(list(labels)), **notes},
        },
        "spec": {"description": "made by a stand-in"},
        "status": {"state": "ready", "httpPort": 49155},
    }


@contextmanager
def stand_in_gateway() -> Iterator[StandInGateway]:
    gateway = StandInGateway()

    class Handler(LoopbackHandler):
        def _answer(self) -> None:
            body = self.read_body()
            asked = Asked(self.command, self.path, dict(self.headers), json.loads(body) if body else "")
            answer = gateway.answer(asked)
            time.sleep(answer.after)
            if answer.status is None:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            # as Python's json reads and writes them, though JSON has neither
            content = content.replace('"(the bare word NaN)"', "NaN").replace(
                '"(the bare number 1e400)"', "1e400"
            )
            self.send_response(answer.status, answer.reason)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(answer.blanks + len(content.encode())))
            self.end_headers()
            try:
                for _ in range(answer.blanks):
                    self.wfile.write(b" ")
                    time.sleep(0.1)
                self.wfile.write(content.encode())
            except OSError:  # the caller has given up
                self.close_connection = True

        do_GET = do_POST = _answer

    with loopback_server(Handler) as gateway.url:
        yield gateway
