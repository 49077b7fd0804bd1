"""A connection to a CVAT server: credentials, plain requests, and paged lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, SecretStr
from requests.auth import AuthBase

from prefect_cvat.cvat.organizations import SelectedOrganization
from prefect_cvat.cvat.response_checks.response_parsing import parse_response
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    ReadOnlyTokenError,
    ResponseTooLargeError,
)
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.http.transport import Transport
from prefect_cvat.models import User

__all__ = ["MAX_PAGES", "PAGE_SIZE", "Connection"]

Model = TypeVar("Model", bound=BaseModel)

PAGE_SIZE = 500
"""Requested page size of lists, the maximum of CVAT 2.73."""

MAX_PAGES = 400
"""Maximum number of pages read from a list: 200,000 tasks or jobs."""


class Connection:
    """The base class of the requests of `Client`."""

    def __init__(
        self,
        url: str,
        *,
        access_token: str | SecretStr | None = None,
        organization: str | None = None,
        verify: bool | str = True,
        timeout: tuple[float, float] = (10.0, 75.0),
        retry: RetryPolicy | None = None,
        assume_reachable: bool = False,
        on_retry: Callable[[str], object] | None = None,
    ) -> None:
        self._transport = Transport(
            url,
            organization=organization,
            verify=verify,
            timeout=timeout,
            retry=retry,
            assume_reachable=assume_reachable,
            on_retry=on_retry,
        )
        self._organization = SelectedOrganization(organization, self._list_organizations)
        self._may_write = False
        if access_token is not None:
            self._transport.use_access_token(_secret(access_token))

    @property
    def url(self) -> str:
        """The server's address, such as `https://cvat.example.com`."""
        return self._transport.url

    def login(self, credentials: tuple[str, str | SecretStr]) -> None:
        """Log in with a user name (or e-mail address) and a password.

        Raises:
            AuthenticationError: The user or the password is wrong.
        """
        user, password = credentials
        self._transport.login(user, _secret(password))

    def use_auth(self, auth: AuthBase) -> None:
        """Let an auth object of requests add the credentials to all further requests."""
        self._transport.use_auth(auth)

    def close(self) -> None:
        """Close the connections. This does not log out: that would end the token for all its users."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # --- server ---

    def server_version(self) -> str:
        """The version of CVAT, such as `2.73.0`."""
        about = self._transport.json("GET", "/api/server/about")
        return parse_response(_About, about, "/api/server/about").version

    def user(self) -> User:
        """The user that is logged in."""
        return parse_response(User, self._transport.json("GET", "/api/users/self"), "/api/users/self")

    def check_may_write(self) -> None:
        """Check that the access token, if there is one, is not read-only.

        Raises:
            ReadOnlyTokenError: It is read-only.
        """
        if self._may_write or not self._transport.uses_access_token:
            return
        try:
            answer = self._transport.json("GET", "/api/auth/access_tokens/self")
        except NotFoundError:  # servers before 2.48 have no such route
            return
        if parse_response(_AccessToken, answer, "/api/auth/access_tokens/self").read_only:
            raise ReadOnlyTokenError(
                f"the access token for {self.url} is read-only: it cannot write; create another one in CVAT,"
                " or log in with user and password"
            )
        self._may_write = True

    # --- requests ---

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
    ) -> Any:
        """Send a request that has no method of its own; return the parsed JSON of the response.

        Args:
            method: The HTTP method.
            path: The path on the server, starting with `/api`.
            params: The query parameters.
            body: The object to send as JSON.
        """
        return self._transport.json(method, path, params=params, body=body)

    def iter_list(self, model: type[Model], path: str, params: Mapping[str, str | int]) -> Iterator[Model]:
        """Yield the items of a list on the server, page by page.

        Args:
            model: The model of an item.
            path: The path of the list, such as `/api/labels`.
            params: Filters and sort order.

        Raises:
            ResponseTooLargeError: The list has more than `MAX_PAGES` pages.
            InvalidResponseError: The response is not a list of these items.
        """
        before: list[Any] = []
        for page in range(1, MAX_PAGES + 1):
            wanted = {**params, "page": page, "page_size": PAGE_SIZE}
            try:
                answer = self._transport.json("GET", path, params=wanted)
            except PermissionDeniedError as error:
                # CVAT 2.73 answers 403 to every list request of a non-member
                if self._transport.organization:
                    asked = f"; is this user in the organization {self._transport.organization!r}?"
                    error.args = (f"{error}{asked}",)
                raise
            if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
                raise InvalidResponseError(f"GET {path} did not return a list of results")
            for item in answer["results"]:
                yield parse_response(model, item, path)
            if not answer.get("next"):
                return
            if not answer["results"]:
                raise InvalidResponseError(f"GET {path} returned an empty page that links to a next one")
            if answer["results"] == before:
                raise InvalidResponseError(
                    f"GET {path} returned the same page twice, with a link to a next one"
                )
            before = answer["results"]
        raise ResponseTooLargeError(f"GET {path} returned {MAX_PAGES} pages and links to a next one")

    def _get_by_id(self, what: str, number: int) -> Any:
        try:
            return self._transport.json("GET", f"/api/{what}s/{number}")
        except NotFoundError as error:
            raise NotFoundError(
                f"there is no {what} {number} on {self.url}",
                status=404,
                method=error.method,
                path=error.path,
                detail=error.detail,
                request_id=error.request_id,
            ) from None

    def _list_organizations(self) -> dict[int, str]:
        try:
            found = self.iter_list(_Organization, "/api/organizations", {})
            return {organization.id: organization.slug for organization in found}
        except PermissionDeniedError:
            return {}


class _About(BaseModel):
    version: str


class _Organization(BaseModel):
    id: int
    slug: str


class _AccessToken(BaseModel):
    read_only: bool


def _secret(value: str | SecretStr) -> SecretStr:
    return value if isinstance(value, SecretStr) else SecretStr(value)
