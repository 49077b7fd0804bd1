"""Responses that a fault creates or damages."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import to_json

from prefect_cvat.sandbox.api.reply import HTML, VND_JSON, common_headers, server_error
from prefect_cvat.sandbox.faults.rules import RequestFacts

RawHeaders = tuple[tuple[bytes, bytes], ...]
_NGINX_TITLES = {
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}
_FLIPPED_BYTES = 16
_PIECES_PER_SECOND = 20


@dataclass(frozen=True, kw_only=True)
class FaultResponse:
    """A response to send.

    Attributes:
        status: Status code.
        headers: Headers as in ASGI.
        body: The bytes to send, which may be fewer than Content-Length says.
        ends_early: Whether the connection is closed after the body.
    """

    status: int
    headers: RawHeaders
    body: bytes
    ends_early: bool = False


def throttled(request: RequestFacts, retry_after: int) -> FaultResponse:
    """429 as in CVAT 2.73: without a body for a chunk, with JSON for the rest."""
    headers = {"Retry-After": str(retry_after)}
    if re.search(r"/data/?$", request.path) and re.search(r"(^|&)type=chunk(&|$)", request.query):
        return _answer(429, common_headers() | headers, b"")
    unit = "second" if retry_after == 1 else "seconds"
    body = {"detail": f"Request was throttled. Expected available in {retry_after} {unit}."}
    return _answer(429, common_headers() | headers | {"Content-Type": VND_JSON}, to_json(body))


def failed(status: int) -> FaultResponse:
    """500 with the page of CVAT; 502, 503 and 504 with that of nginx."""
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


def truncated(answer: FaultResponse) -> FaultResponse:
    """Keep only the first half of the body, with the Content-Length of the whole."""
    return dataclasses.replace(answer, body=answer.body[: len(answer.body) // 2], ends_early=True)


def corrupted(answer: FaultResponse) -> FaultResponse:
    """Invert bytes in the middle of the body."""
    body = bytearray(answer.body)
    first = max(0, (len(body) - _FLIPPED_BYTES) // 2)
    for position in range(first, min(first + _FLIPPED_BYTES, len(body))):
        body[position] ^= 0xFF
    return dataclasses.replace(answer, body=bytes(body))


def pieces(body: bytes, bytes_per_second: int | None) -> Iterator[tuple[bytes, float]]:
    """Split the body into parts, each with its transfer time in seconds; one part if there is no limit."""
    if bytes_per_second is None:
        yield body, 0
        return
    size = max(1, bytes_per_second // _PIECES_PER_SECOND)
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        yield piece, len(piece) / bytes_per_second


def _answer(status: int, headers: dict[str, str], body: bytes) -> FaultResponse:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return FaultResponse(status=status, headers=(*raw, (b"content-length", b"%d" % len(body))), body=body)
