"""The request as handlers see it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import FormData, Headers, QueryParams

from prefect_cvat.sandbox.api.account import Account
from prefect_cvat.sandbox.api.handler_fault import NO_FAULT, HandlerFault
from prefect_cvat.sandbox.api.reply import ApiError, Json, bad_request, not_found
from prefect_cvat.sandbox.state import State


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request with its whole body and the account that sent it."""

    state: State
    method: str
    path: str
    params: Mapping[str, Any]
    query: QueryParams
    headers: Headers
    base_url: str
    body: bytes = b""
    form: FormData | None = None
    account: Account | None = None
    fault: HandlerFault = NO_FAULT

    def require_account(self) -> Account:
        """The account that sent the request.

        Raises:
            ApiError: 401 if the request has no credentials.
        """
        if self.account is None:
            raise ApiError(401, {"detail": "Authentication credentials were not provided."})
        return self.account

    @property
    def user(self) -> Account:
        """The account that sent the request, for endpoints that require credentials."""
        return self.require_account()

    def url(self, path: str) -> str:
        """The absolute URL of an API path on this server."""
        return f"{self.base_url}/api/{path}"

    def path_id(self) -> int:
        """The id in the path.

        Raises:
            ApiError: 404 if it is not a number.
        """
        try:
            return int(self.params["id"])
        except ValueError:
            raise not_found() from None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ApiError: 415 if the content type is not application/json, 400 if the body is not valid JSON.
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
            # CVAT sends the messages of the standard parser.
            try:
                return json.loads(self.body, parse_constant=_refuse_constant)
            except ValueError as error:
                raise bad_request({"detail": f"JSON parse error - {error}"}) from error

    def json_object(self) -> Json:
        """The body as a JSON object.

        Raises:
            ApiError: As `json`, and 400 for a list or a scalar.
        """
        body = self.json()
        if not isinstance(body, dict):
            raise bad_request(
                {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {type(body).__name__}."]}
            )
        return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")
