"""Responses: what a handler returns, the errors that it raises, and the headers of every response."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

VND_JSON = "application/vnd.cvat+json"

HTML = "text/html; charset=utf-8"

_SERVER_ERROR = """
<!doctype html>
<html lang="en">
<head>
  <title>Server Error (500)</title>
</head>
<body>
  <h1>Server Error (500)</h1><p></p>
</body>
</html>
"""


NOT_FOUND_PAGE = """
<!doctype html>
<html lang="en">
<head>
  <title>Not Found</title>
</head>
<body>
  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>
</body>
</html>
"""
"""What CVAT answers where it has no route."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response: a JSON body, or bytes with their media type; `delay` seconds after it is known."""

    status: int = 200
    json: Any = None
    content: bytes | None = None
    media_type: str | None = VND_JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    delay: float = 0


NO_CONTENT = Reply(status=204, content=b"", media_type=None)


class ApiError(Exception):
    """An error response, with the status and the body that CVAT sends."""

    def __init__(
        self, status: int, body: Any, *, media_type: str = VND_JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = headers or {}

    def reply(self) -> Reply:
        """The error as a response."""
        if self.media_type == VND_JSON:
            return Reply(status=self.status, json=self.body, headers=self.headers)
        return Reply(
            status=self.status,
            content=str(self.body).encode(),
            media_type=self.media_type,
            headers=self.headers,
        )


def bad_request(body: Any) -> ApiError:
    """400 with a text, a list or an object: CVAT uses all of them."""
    return ApiError(400, body)


def forbidden() -> ApiError:
    """403 with CVAT's usual text."""
    return ApiError(403, {"detail": "You do not have permission to perform this action."})


def not_found(what: str | None = None) -> ApiError:
    """404 for a resource that does not exist."""
    return ApiError(404, {"detail": f"No {what} matches the given query." if what else "Not found."})


def server_error() -> ApiError:
    """500 with the page of CVAT, which gives no reason."""
    return ApiError(500, _SERVER_ERROR, media_type=HTML)


def common_headers() -> dict[str, str]:
    """The headers of every response."""
    return {
        "X-Request-Id": str(uuid.uuid4()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
