"""A proxy before the Prefect server that counts requests, and fails or delays those for artifacts."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_RETRY_JITTER_FACTOR, temporary_settings

from loopback_server import LoopbackHandler, loopback_server

_ID_OR_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|prefect-cvat-[^/]*")

_BUSY = 503


@dataclass
class PrefectRequests:
    """The requests to the Prefect server, and how those for artifacts are answered.

    Attributes:
        status: The status with which they are answered; None passes them on.
        delay: The seconds for which an answer is delayed.
        asked: How many there were.
        routes: How many requests there were of each route, such as `POST /api/artifacts/`, without ids and names;
            those do not count that are sent again, because SQLite was busy.
        busy_once: The ends of paths whose next request is answered as if SQLite was busy.
        busy_at: When that was, as `time.monotonic` says.
        again_after: Seconds until the next request then came.
    """

    status: int | None = None
    delay: float = 0.0
    asked: int = 0
    routes: Counter[str] = field(default_factory=Counter)
    busy_once: set[str] = field(default_factory=set)
    busy_at: float = 0.0
    again_after: float | None = None


@contextmanager
def prefect_proxy() -> Iterator[PrefectRequests]:
    """Let Prefect's client use the proxy; yield its requests, and how those for artifacts are answered."""
    server = PREFECT_API_URL.value().removesuffix("/api")
    artifacts = PrefectRequests()

    class Handler(LoopbackHandler):
        def _pass_on(self) -> None:
            is_artifact = self.path.startswith("/api/artifacts")
            if artifacts.busy_at and artifacts.again_after is None:
                artifacts.again_after = time.monotonic() - artifacts.busy_at
            for end in [end for end in artifacts.busy_once if self.path.endswith(end)]:
                artifacts.busy_once.remove(end)
                artifacts.busy_at = time.monotonic()
                self.read_body()
                self._send(_BUSY, b"{}", "application/json")
                return
            if is_artifact:
                artifacts.asked += 1
                time.sleep(artifacts.delay)
            if is_artifact and artifacts.status is not None:
                self.read_body()
                self._send(artifacts.status, b'{"detail": "hiccup"}', "application/json")
            else:
                answer = self.forward(server)
                if answer.status_code != _BUSY:
                    route = _ID_OR_NAME.sub("...", self.path.partition("?")[0])
                    artifacts.routes[f"{self.command} {route}"] += 1
                self._send(answer.status_code, answer.content, answer.headers.get("Content-Type", ""))

        do_GET = do_POST = do_PATCH = do_DELETE = _pass_on

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with (
        loopback_server(Handler) as url,
        temporary_settings({PREFECT_API_URL: f"{url}/api", PREFECT_CLIENT_RETRY_JITTER_FACTOR: 0}),
    ):
        yield artifacts
