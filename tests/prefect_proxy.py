"""A proxy before the Prefect server that fails or delays requests for artifacts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_RETRY_JITTER_FACTOR, temporary_settings

from loopback_server import LoopbackHandler, loopback_server


@dataclass
class ArtifactRequests:
    """How requests for artifacts are answered.

    Attributes:
        status: The status with which they are answered; None passes them on.
        delay: The seconds for which an answer is delayed.
        asked: How many there were.
    """

    status: int | None = None
    delay: float = 0.0
    asked: int = 0


@contextmanager
def prefect_proxy() -> Iterator[ArtifactRequests]:
    """Let Prefect's client use the proxy; yield how requests for artifacts are answered."""
    server = PREFECT_API_URL.value().removesuffix("/api")
    artifacts = ArtifactRequests()

    class Handler(LoopbackHandler):
        def _pass_on(self) -> None:
            is_artifact = self.path.startswith("/api/artifacts")
            if is_artifact:
                artifacts.asked += 1
                time.sleep(artifacts.delay)
            if is_artifact and artifacts.status is not None:
                self.read_body()
                self._send(artifacts.status, b'{"detail": "hiccup"}', "application/json")
            else:
                answer = self.forward(server)
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
