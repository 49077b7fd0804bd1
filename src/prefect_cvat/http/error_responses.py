"""Converts error responses of the server to exceptions with one clear message.

CVAT 2.73 describes errors in at least five forms: `{"detail": ...}`, fields (nested, by position),
a list of strings, one string, and pages or plain text that are not CVAT's own.
"""

from __future__ import annotations

from typing import Any

import requests
from pydantic_core import from_json
from urllib3 import Retry

from prefect_cvat.exceptions import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TooManyRequestsError,
)
from prefect_cvat.http.response_bodies import read_error_text
from prefect_cvat.messages.bounded_text import one_line

__all__ = ["api_error", "retry_after"]

MAX_DETAIL_LENGTH = 600
"""Maximum length of the server's description in a message."""
_PAGE_OF_CVAT = "Server Error (500)"
"""The title of the page that CVAT 2.73 sends when it fails itself; nginx's is `500 Internal ...`."""

_ERROR_CLASSES: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: TooManyRequestsError,
}


def api_error(response: requests.Response, method: str, path: str) -> ApiError:
    """Make an exception from an error response.

    Raises:
        requests.RequestException: The connection broke within the body.
    """
    status = response.status_code
    is_html = "html" in response.headers.get("Content-Type", "")
    detail = _error_detail(response)
    error_class = _ERROR_CLASSES.get(status, ServerError if status >= 500 else BadRequestError)
    request_id = response.headers.get("X-Request-Id")
    message = f"{method} {path} was answered with {status} {response.reason or ''}".rstrip()
    if detail:
        message += f": {detail}"
    if status == 401:
        message += "; log in, or check the access token"
    if request_id:
        message += f" (request id {request_id})"
    return error_class(
        message,
        status=status,
        method=method,
        path=path,
        detail=detail,
        request_id=request_id,
        is_html=is_html,
        retry_after=retry_after(response),
    )


def retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait; None without a valid `Retry-After`."""
    value = response.headers.get("Retry-After")
    try:
        return None if value is None else float(Retry().parse_retry_after(value))
    except Exception:  # urllib3 raises its own error for an invalid header
        return None


def _error_detail(response: requests.Response) -> str:
    """The body as one line."""
    text = read_error_text(response).strip()
    if not text:
        return ""
    try:
        body = from_json(text)  # refuses JSON nested more than 200 deep
    except ValueError:
        if "<" not in text[:100]:
            return one_line(text, MAX_DETAIL_LENGTH)
        title = text.partition("<title>")[2].partition("</title>")[0].strip()
        if title == _PAGE_OF_CVAT:
            return f"{title}, CVAT's own page; the reason is in the log of its server"
        return f"{title} (a page, not CVAT's API: a proxy or a wrong path)" if title else "a page of HTML"
    return one_line("; ".join(_flatten(body)), MAX_DETAIL_LENGTH)


def _flatten(body: Any, where: str = "") -> list[str]:
    match body:
        case dict():
            return [
                line
                for key, value in body.items()
                for line in _flatten(
                    value, where if key in ("detail", "non_field_errors") else _join(where, key)
                )
            ]
        case list() if all(isinstance(item, str) for item in body):
            return [f"{where}: {item}" if where else item for item in body]
        case list():
            return [line for i, item in enumerate(body) for line in _flatten(item, f"{where}[{i}]")]
        case None:
            return []
        case _:
            return [f"{where}: {body}" if where else str(body)]


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
