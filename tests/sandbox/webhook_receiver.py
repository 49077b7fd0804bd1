"""A webhook receiver that records requests and answers as configured."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request. The names of its headers are in lower case."""

    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def event(self) -> str:
        return str(self.body["event"])

    def is_signed_with(self, secret: str) -> bool:
        digest = hmac.new(secret.encode(), self.raw, hashlib.sha256).hexdigest()
        return self.headers["x-signature-256"] == f"sha256={digest}"


class Receiver:
    """Listens on a free port of this machine.

    Args:
        statuses: With which statuses it answers, one after another, before it answers with 200.
    """

    def __init__(self, statuses: Iterable[int] = ()) -> None:
        self._statuses = list(statuses)
        self._received: list[Received] = []
        self._more = threading.Condition()
        self._open = threading.Event()
        self._open.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        # What waits for `release` must not hold up the end.
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    @property
    def events(self) -> list[str]:
        """The received events, in order."""
        with self._more:
            return [received.event for received in self._received]

    def wait_for(self, count: int, seconds: float = 20) -> list[Received]:
        """Wait for at least `count` requests, and return all received so far."""
        with self._more:
            assert self._more.wait_for(lambda: len(self._received) >= count, seconds), self.events
            return list(self._received)

    def wait_for_events(self, *events: str, seconds: float = 20) -> list[Received]:
        """Wait for each of these events, and return all requests received."""

        def all_here() -> bool:
            return set(events) <= {received.event for received in self._received}

        with self._more:
            assert self._more.wait_for(all_here, seconds), [received.event for received in self._received]
            return list(self._received)

    def hold(self) -> None:
        """Answers nothing until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                raw = self.rfile.read(int(headers["content-length"]))
                with outer._more:
                    status = outer._statuses.pop(0) if outer._statuses else 200
                    outer._received.append(Received(headers=headers, raw=raw))
                    outer._more.notify_all()
                outer._open.wait()
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
