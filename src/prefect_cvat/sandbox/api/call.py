"""What comes in, what goes out, and what is refused: the values that handlers work with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from starlette.datastructures import FormData, Headers, QueryParams

from prefect_cvat.sandbox.api.handler_fault import NOTHING, FaultWithin

if TYPE_CHECKING:
    from prefect_cvat.sandbox.accounts.authentication import Account
    from prefect_cvat.sandbox.state import State

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


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: a JSON body, or bytes with their type."""

    status: int = 200
    json: Any = None
    content: bytes | None = None
    media_type: str | None = VND_JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


NO_CONTENT = Reply(status=204, content=b"", media_type=None)


class ApiError(Exception):
    """A refusal, with the status and the body that CVAT would send."""

    def __init__(
        self, status: int, body: Any, *, media_type: str = VND_JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = headers or {}

    def reply(self) -> Reply:
        """The answer that says so."""
        if self.media_type == VND_JSON:
            return Reply(status=self.status, json=self.body, headers=self.headers)
        return Reply(
            status=self.status,
            content=str(self.body).encode(),
            media_type=self.media_type,
            headers=self.headers,
        )


def bad_request(body: Any) -> ApiError:
    """400 with any of the five shapes of body."""
    return ApiError(400, body)


def forbidden() -> ApiError:
    """403 with CVAT's usual words."""
    return ApiError(403, {"detail": "You do not have permission to perform this action."})


def not_found(what: str | None = None) -> ApiError:
    """404 for a resource that does not exist."""
    return ApiError(404, {"detail": f"No {what} matches the given query." if what else "Not found."})


def server_error() -> ApiError:
    """The 500 page, which tells nothing."""
    return ApiError(500, _SERVER_ERROR, media_type=HTML)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request, read in full, with who sent it."""

    state: "State"
    method: str
    path: str
    params: Mapping[str, Any]
    query: QueryParams
    headers: Headers
    base_url: str
    body: bytes = b""
    form: FormData | None = None
    account: "Account | None" = None
    fault: FaultWithin = NOTHING

    def require_account(self) -> "Account":
        """Who sent it.

        Raises:
            ApiError: 401 where nobody says so.
        """
        if self.account is None:
            raise ApiError(401, {"detail": "Authentication credentials were not provided."})
        return self.account

    @property
    def user(self) -> "Account":
        """Who sent it, in handlers of endpoints that demand credentials."""
        return self.require_account()

    def url(self, path: str) -> str:
        """An absolute address on this server."""
        return f"{self.base_url}/api/{path}"

    def path_id(self) -> int:
        """The id in the path.

        Raises:
            ApiError: 404 where it is no number.
        """
        try:
            return int(self.params["id"])
        except ValueError:
            raise not_found() from None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ApiError: 415 for another type than application/json, 400 for what does not parse.
        """
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            if not self.body and not content_type:
                return {}
            raise ApiError(415, {"detail": f'Unsupported media type "{content_type}" in request.'})
        if not self.body:
            return {}
        try:
            return from_json(self.body, allow_inf_nan=False)
        except ValueError:
            # Only the standard parser's messages are those that CVAT sends.
            try:
                return json.loads(self.body, parse_constant=_refuse_constant)
            except ValueError as error:
                raise bad_request({"detail": f"JSON parse error - {error}"}) from error

    def json_object(self) -> Json:
        """The body as a JSON object.

        Raises:
            ApiError: Besides what `json` raises, 400 for a list or a scalar.
        """
        body = self.json()
        if not isinstance(body, dict):
            raise bad_request(
                {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {type(body).__name__}."]}
            )
        return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")
