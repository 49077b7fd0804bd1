"""A proxy before the sandbox that changes its answers: what a hostile or broken server might send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from loopback_server import LoopbackHandler, loopback_server

JSON = "application/vnd.cvat+json"
HTML = "text/html"

_NOT_PASSED_ON = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass(frozen=True)
class Reply:
    """An answer of the server.

    Attributes:
        status: Its status.
        headers: Its headers, without `Content-Length`.
        body: Its bytes.
        raw: Bytes to send instead, piece by piece, until the client closes the connection.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
    body: bytes = b""
    raw: Callable[[], Iterator[bytes]] | None = None

    def with_header(self, name: str, value: str) -> Reply:
        """The same reply with a header set."""
        kept = tuple(header for header in self.headers if header[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))


Change = Callable[[str, str, Reply], Reply]
"""Takes method, path with query, and the sandbox's reply; returns the reply to send."""


def change_bodies(change: Callable[[str, str, bytes], bytes]) -> Change:
    """Change the body of each reply with a status of 2xx."""

    def change_reply(method: str, path: str, reply: Reply) -> Reply:
        return replace(reply, body=change(method, path, reply.body)) if reply.status < 300 else reply

    return change_reply


@contextmanager
def changing_proxy(url: str, change: Change) -> Iterator[str]:
    """Pass requests on to a server and change its answers; yield the address of the proxy."""

    class Handler(LoopbackHandler):
        def _answer(self) -> None:
            answer = self.forward(url)
            headers = answer.raw.headers.items()  # a name may be there twice, such as Set-Cookie
            kept = tuple((name, value) for name, value in headers if name.lower() not in _NOT_PASSED_ON)
            self._send(change(self.command, self.path, Reply(answer.status_code, kept, answer.content)))

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = _answer

        def _send(self, reply: Reply) -> None:
            try:
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
            except OSError:  # the client has closed the connection, as it should on some answers
                self.close_connection = True

    with loopback_server(Handler) as address:
        yield address
