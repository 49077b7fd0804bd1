"""A server between the client and the sandbox that makes hostile answers of true ones."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from hostile.hostile_input import HostileInput, Reply

_OWN = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


class HostileServer(ThreadingHTTPServer):
    """Passes requests on to a sandbox, and answers on as the current input wants them.

    Args:
        target: The sandbox's address.

    Attributes:
        input: The hostile input that is played; None passes all on as it is.
        attacked: How many answers were attacked.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(target)
        self.target = (parts.hostname, parts.port)
        self.input: HostileInput | None = None
        self.attacked = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def play(self, hostile: HostileInput | None) -> None:
        """Attack answers as this input says."""
        with self._lock:
            self.input = hostile
            self.attacked = 0

    def attack(self, method: str, path: str, reply: Reply) -> Reply:
        with self._lock:
            hostile = self.input
            if hostile is None or not hostile.route or not re.search(hostile.route, f"{method} {path}"):
                return reply
            if hostile.times is not None and self.attacked >= hostile.times:
                return reply
            self.attacked += 1
        return hostile.attack(reply)

    def handle_error(self, *_: Any) -> None:
        """Whoever hangs up on an attack is right to do so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HostileServer

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(*self.server.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
        headers["Accept-Encoding"] = "identity"
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            kept = tuple((k, v) for k, v in answer.getheaders() if k.lower() not in _OWN)
            reply = Reply(answer.status, kept, answer.read())
        self._send(self.server.attack(self.command, self.path, reply))

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = _pass_on

    def _send(self, reply: Reply) -> None:
        if reply.raw is not None:
            self.close_connection = True
            for piece in reply.raw():
                self.wfile.write(piece)
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def hostile_server(target: str) -> Iterator[HostileServer]:
    """Serve in a thread of this process."""
    server = HostileServer(target)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
