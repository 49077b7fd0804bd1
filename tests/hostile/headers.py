"""Hostile response heads: statuses, headers, redirects, and bytes that are not HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from changing_proxy import HTML, Reply
from hostile.hostile_input import HostileInput

ANY = r"^GET /api/"
WRITE = r"^PATCH "


def _status(status: int, *headers: tuple[str, str], body: bytes = b"") -> Callable[[Reply], Reply]:
    return lambda _: Reply(status, headers, body)


def _raw(*pieces: bytes) -> Callable[[Reply], Reply]:
    def raw() -> Iterator[bytes]:
        yield from pieces

    return lambda reply: replace(reply, raw=raw)


def _long_head() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-Filler: " + b"a" * 60_000 + b"\r\n"


def _header(name: str, value: str) -> Callable[[Reply], Reply]:
    return lambda reply: reply.with_header(name, value)


# attacked once: the run continues after a retry
_ONCE: dict[str, tuple[str, Callable[[Reply], Reply]]] = {
    "429 with Retry-After 0": (ANY, _status(429, ("Retry-After", "0"))),
    "429 with a date in the past": (ANY, _status(429, ("Retry-After", "Mon, 01 Jan 2001 00:00:00 GMT"))),
    "429 with words in Retry-After": (ANY, _status(429, ("Retry-After", "a while"))),
    "429 with a negative Retry-After": (ANY, _status(429, ("Retry-After", "-10"))),
    "429 with Retry-After 10 ** 30": (ANY, _status(429, ("Retry-After", "1" + "0" * 30))),
    "a write answered with 429": (WRITE, _status(429, ("Retry-After", "0"))),
    "500 with a long page": (ANY, _status(500, ("Content-Type", HTML), body=b"<html>" + b"x" * 10**7)),
    "a write answered with 500 and control characters": (WRITE, _status(500, body=b"\x1b[2J\x00\x07" * 1000)),
    "a connection that is closed at once": (ANY, _raw()),
    "a length that is longer than the body": (ANY, _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")),
}

_ALWAYS: dict[str, tuple[str, Callable[[Reply], Reply]]] = {
    "a redirect to itself": (ANY, _status(302, ("Location", "/api/server/about"))),
    "a redirect to a file": (ANY, _status(302, ("Location", "file:///etc/passwd"))),
    "a redirect to another host": (ANY, _status(302, ("Location", "http://127.0.0.2:9/"))),
    "a redirect to nowhere": (ANY, _status(302)),
    "a redirect to a broken address": (ANY, _status(302, ("Location", "http://[::1"))),
    "a write that is redirected": (WRITE, _status(308, ("Location", "https://127.0.0.1:9/"))),
    "status 999": (ANY, _status(999)),
    "status 204": (ANY, _status(204)),
    "status 418 with an escape in its detail": (
        ANY,
        _status(418, body=b'{"detail": "\\u001b[31mred\\u0007"}'),
    ),
    "a write answered with 204": (WRITE, _status(204)),
    "a write answered with 403 and a long detail": (
        WRITE,
        _status(403, body=b'{"detail": "%s"}' % (b"n" * 10**6)),
    ),
    "a write answered with 413": (
        WRITE,
        _status(413, ("Content-Type", HTML), body=b"<html>too large</html>"),
    ),
    "no HTTP at all": (ANY, _raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20)),
    "a head without end": (ANY, lambda reply: replace(reply, raw=_long_head)),
    "a length of -1": (ANY, _raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}")),
    "a length of words": (ANY, _raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}")),
    "broken pieces": (
        ANY,
        _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    ),
    "a reason with control characters": (
        ANY,
        _raw(b"HTTP/1.1 500 \x1b[2J\x07no\r\nContent-Length: 0\r\n\r\n"),
    ),
    "a request id of 60 kB": (
        ANY,
        lambda reply: replace(reply, status=400).with_header("X-Request-Id", "r" * 60_000),
    ),
    "an unknown encoding": (ANY, _header("Content-Encoding", "rot13")),
    "a character set that there is not": (ANY, _header("Content-Type", "application/json; charset=klingon")),
    "a cookie for another host": (ANY, _header("Set-Cookie", "sessionid=x; Domain=example.com; Path=/")),
}


def hostile_headers() -> list[HostileInput]:
    """Some for one answer, some for all of them."""
    return [
        *(HostileInput(name, "header", route, attack, times=1) for name, (route, attack) in _ONCE.items()),
        *(HostileInput(name, "header", route, attack) for name, (route, attack) in _ALWAYS.items()),
    ]
