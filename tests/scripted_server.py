"""An HTTP server with scripted responses, for those that the sandbox never sends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat.http.reachability import REACHABILITY_PATH

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/vnd.cvat+json"}


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    reset: bool = False
    claimed_length: int | None = None
    parts: Callable[[], Iterable[bytes]] | None = None
    """Sent instead of the body, one after the other, without a length; then the connection is closed."""


@dataclass
class ScriptedServer:
    url: str
    requests: list[tuple[str, str, dict[str, str]]]


@contextmanager
def scripted_server(*answers: Answer, contact: Answer | None = None) -> Iterator[ScriptedServer]:
    """Serve these answers in turn; the last one again and again.

    The first contact of a client is answered with `contact`, by default as CVAT would, and is not recorded.
    """
    waiting = list(answers)
    requests: list[tuple[str, str, dict[str, str]]] = []

    class Handler(LoopbackHandler):
        def _answer(self) -> None:
            self.read_body()
            if self.path == REACHABILITY_PATH and "Authorization" not in self.headers:
                answer = contact or Answer(body=b'{"version": "2.73.0"}')
            else:
                requests.append((self.command, self.path, dict(self.headers)))
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if answer.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.parts is None:
                self.send_header("Content-Length", str(answer.claimed_length or len(answer.body)))
            self.end_headers()
            try:
                for part in [answer.body] if answer.parts is None else answer.parts():
                    self.wfile.write(part)
            except OSError:  # the client has heard enough
                self.close_connection = True
            if answer.claimed_length or answer.parts is not None:
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

    with loopback_server(Handler) as url:
        yield ScriptedServer(url, requests)
