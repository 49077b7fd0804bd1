"""A proxy before the sandbox that answers some requests for chunks in its own way, as those on the way may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from loopback_server import LoopbackHandler, loopback_server

Spoil = Callable[[BaseHTTPRequestHandler, bytes], None]


def answer(handler: BaseHTTPRequestHandler, status: int, content: bytes, content_type: str) -> None:
    """Answer with a content of a length that is told."""
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def a_page(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    answer(handler, 200, b"<html><title>Sign in</title></html>", "text/html")


def no_content(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(204)
    handler.end_headers()


def nothing(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    answer(handler, 200, b"", "application/zip")


def cut_short(handler: BaseHTTPRequestHandler, chunk: bytes) -> None:
    """Half of the chunk, and no length by which that could be noticed."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(chunk[: len(chunk) // 2])
    handler.close_connection = True


@contextmanager
def spoiling_proxy(url: str, spoil: Spoil, numbers: set[str], times: int) -> Iterator[str]:
    """Pass requests on to a server, but spoil the first answers of each of some chunks; yield its address."""
    spoiled: dict[str, int] = {}

    class Handler(LoopbackHandler):
        def _pass_on(self) -> None:
            found = self.forward(url)
            query = self.path.partition("?")[2].split("&")
            number = next((part[7:] for part in query if part.startswith("number=")), None)
            if "type=chunk" in query and number in numbers and spoiled.get(number, 0) < times:
                spoiled[number] = spoiled.get(number, 0) + 1
                spoil(self, found.content)
            else:
                answer(self, found.status_code, found.content, found.headers.get("Content-Type", ""))

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass_on

    with loopback_server(Handler) as address:
        yield address
