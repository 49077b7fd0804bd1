"""Answers that a fault makes or mangles."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import to_json

from prefect_cvat.sandbox.api.reply import HTML, VND_JSON, common_headers, server_error
from prefect_cvat.sandbox.faults.rules import Asked

RawHeaders = tuple[tuple[bytes, bytes], ...]
_NGINX_TITLES = {
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}
_FLIPPED_BYTES = 16
_PIECES_PER_SECOND = 20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer as it goes out.

    Attributes:
        status: Its code.
        headers: As ASGI wants them.
        body: The bytes that are sent, of a body that may have more.
        ends_early: Whether the connection is closed after them.
    """

    status: int
    headers: RawHeaders
    body: bytes
    ends_early: bool = False


def throttled(asked: Asked, retry_after: int) -> Answer:
    """429 in both of the forms of CVAT 2.73: without a body for a chunk, with JSON for all else."""
    headers = {"Retry-After": str(retry_after)}
    if re.search(r"/data/?$", asked.path) and re.search(r"(^|&)type=chunk(&|$)", asked.query):
        return _answer(429, common_headers() | headers, b"")
    unit = "second" if retry_after == 1 else "seconds"
    body = {"detail": f"Request was throttled. Expected available in {retry_after} {unit}."}
    return _answer(429, common_headers() | headers | {"Content-Type": VND_JSON}, to_json(body))


def failed(status: int) -> Answer:
    """500 as the application says it; 502, 503 and 504 as the nginx before it does."""
    if status == 500:
        body = str(server_error().body).encode()
        return _answer(500, common_headers() | {"Content-Type": HTML}, body)
    title = _NGINX_TITLES[status]
    lines = (
        "<html>",
        f"<head><title>{title}</title></head>",
        "<body>",
        f"<center><h1>{title}</h1></center>",
        "<hr><center>nginx</center>",
        "</body>",
        "</html>",
        "",
    )
    headers = {"Content-Type": "text/html", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "deny"}
    return _answer(status, headers, "\r\n".join(lines).encode())


def truncated(answer: Answer) -> Answer:
    """The first half of the body, under the length of the whole."""
    return dataclasses.replace(answer, body=answer.body[: len(answer.body) // 2], ends_early=True)


def corrupted(answer: Answer) -> Answer:
    """The same length, with bytes in the middle flipped."""
    body = bytearray(answer.body)
    first = max(0, (len(body) - _FLIPPED_BYTES) // 2)
    for position in range(first, min(first + _FLIPPED_BYTES, len(body))):
        body[position] ^= 0xFF
    return dataclasses.replace(answer, body=bytes(body))


def pieces(body: bytes, bytes_per_second: int | None) -> Iterator[tuple[bytes, float]]:
    """The body in parts, each with the seconds that it takes on the line; in one where there is no limit."""
    if bytes_per_second is None:
        yield body, 0
        return
    size = max(1, bytes_per_second // _PIECES_PER_SECOND)
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        yield piece, len(piece) / bytes_per_second


def _answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Answer(status=status, headers=(*raw, (b"content-length", b"%d" % len(body))), body=body)
