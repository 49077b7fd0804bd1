"""HTTP to a CVAT server: credentials, time-outs, retries, and readable errors."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from prefect_cvat.exceptions import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    OrganizationError,
    ResponseTooLargeError,
    TlsError,
    TooManyRequestsError,
    TransportError,
)
from prefect_cvat.http.connection_errors import transport_error
from prefect_cvat.http.error_responses import api_error, retry_after
from prefect_cvat.http.json_limits import MAX_JSON_BYTES, parse_json
from prefect_cvat.http.reachability import check_reachable
from prefect_cvat.http.redirects import redirect_error
from prefect_cvat.http.response_bodies import read_body, write_body
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.http.server_url import normalize_url
from prefect_cvat.http.session import NoAuth, TokenAuth, make_session

__all__ = ["BodyValidator", "Transport"]

logger = logging.getLogger(__name__)

_LOGIN = "/api/auth/login"

BodyValidator = Callable[[IO[bytes]], str | None]
"""Says why what is in a file cannot be what was asked for; None if it can."""


class Transport:
    """One server, one set of credentials. May be used from several threads.

    Args:
        url: The server's address, see `normalize_url`.
        organization: The short name (slug) of the organization to work in; `""` is the personal
            workspace, None everything that the user may see.
        verify: Whether to verify the server's TLS certificate, or the path of a CA bundle.
        timeout: Seconds to wait for a connection, and for the next bytes of an answer. CVAT itself
            answers within 60 s (a chunk that is not ready: 429 after 50 s).
        retry: When requests are sent again.
        assume_reachable: Whether the server is known to be there, as another process has asked it just now. Then
            it is waited for from the first request on as `retry` says, and not just for some ten seconds.
        on_retry: Is told, in a line, that a request failed and will be sent again; by default the log is, as a
            warning.
    """

    def __init__(
        self,
        url: str,
        *,
        organization: str | None = None,
        verify: bool | str = True,
        timeout: tuple[float, float] = (10.0, 75.0),
        retry: RetryPolicy | None = None,
        assume_reachable: bool = False,
        on_retry: Callable[[str], object] | None = None,
    ) -> None:
        self.url = normalize_url(url)
        self.organization = organization
        self._timeout = timeout
        if isinstance(verify, str) and not Path(verify).exists():
            raise TlsError(f"there is no CA bundle at {verify!r}, with which to verify {self.url}")
        # read anew for each connection, and a function may go to another folder meanwhile
        self._verify = str(Path(verify).absolute()) if isinstance(verify, str) else verify
        self._retry = retry or RetryPolicy()
        self._is_reachable = assume_reachable
        self._on_retry = on_retry or logger.warning
        self._login_lock = threading.Lock()
        self._password: tuple[str, SecretStr] | None = None
        self._session = make_session(organization)

    def use_access_token(self, token: SecretStr) -> None:
        """Send a personal access token with each request from now on.

        Raises:
            ValueError: It cannot be one.
        """
        text = token.get_secret_value().strip()
        if not (text.isascii() and text.isprintable()) or not text or " " in text:
            raise ValueError("the access token is empty, or has characters that no token has; copy it again")
        self._session.auth = TokenAuth("Bearer", SecretStr(text))
        self._password = None

    @property
    def uses_access_token(self) -> bool:
        """Whether it is a personal access token that requests are sent with."""
        return isinstance(self._session.auth, TokenAuth) and self._session.auth.scheme == "Bearer"

    def login(self, user: str, password: SecretStr) -> None:
        """Exchange user (or e-mail address) and password for a token, and send that from now on.

        Raises:
            AuthenticationError: The server does not know this user with this password.
        """
        names = ["username", "email"] if "@" in user else ["username"]
        for name in names:
            body = {name: user, "password": password.get_secret_value()}
            try:
                answer = self.json("POST", _LOGIN, body=body, anonymous=True)
            except BadRequestError as error:
                if error.status == 400 and name != names[-1]:
                    continue
                if error.status != 400:
                    raise
                raise AuthenticationError(
                    f"{self.url} refused to log in user {user!r}: {error.detail}",
                    status=error.status,
                    method="POST",
                    path=error.path,
                    detail=error.detail,
                    request_id=error.request_id,
                ) from None
            break
        if not isinstance(answer, dict) or not isinstance(answer.get("key"), str):
            raise InvalidResponseError(
                f"{self.url} is not a CVAT server: its answer to a log-in has no token"
            )
        self._session.auth = TokenAuth("Token", SecretStr(answer["key"]))
        self._password = (user, password)

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        max_bytes: int = MAX_JSON_BYTES,
    ) -> Any:
        """Send a request and return what the JSON of its answer says, or None for an empty answer.

        Args:
            method: The HTTP method.
            path: The path on the server, from `/api` on.
            params: The query.
            body: What to send as JSON; bytes are taken for JSON that is ready.
            headers: Further headers.
            anonymous: Send no credentials.
            max_bytes: How long the answer may be, see `parse_json`.

        Raises:
            ResponseTooLargeError: The answer is longer, or stands for too many objects.
            ApiError: The server refused, or failed.
            TransportError: No answer came.
            InvalidResponseError: The answer is not JSON.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**({} if data is None else {"Content-Type": "application/json"}), **(headers or {})}
        response, content = self._send(
            method,
            path,
            params=params,
            data=data,
            headers=headers,
            anonymous=anonymous,
            max_bytes=max_bytes,
        )
        if response.status_code == 204 or not content:
            return None
        try:
            return parse_json(content, max_bytes)
        except ResponseTooLargeError as error:
            raise ResponseTooLargeError(f"{method} {self.url}{path}: {error}") from None
        except ValueError:
            raise InvalidResponseError(
                f"{method} {self.url}{path} answered {response.status_code} with"
                f" {response.headers.get('Content-Type', 'no content type')} where JSON was expected;"
                " is this the address of a CVAT server?"
            ) from None

    def download(
        self,
        path: str,
        file: IO[bytes],
        *,
        max_bytes: int,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        validate: BodyValidator | None = None,
    ) -> None:
        """Write data to a file, complete, and go to its beginning. Raises as `json` does.

        Args:
            path: The path on the server.
            file: Where to write them.
            max_bytes: How many there may be.
            params: The query.
            headers: Further headers.
            validate: Says why what is in the file cannot be what was asked for, or None; then it is the
                network's fault, and it is asked for again.

        Raises:
            StorageError: The disk does not take them.
        """
        self._send(
            "GET",
            path,
            params=params,
            headers=headers,
            into=file,
            max_bytes=max_bytes,
            validate=validate,
        )
        file.seek(0)

    def post_files(
        self, path: str, *, fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]], step: str
    ) -> None:
        """Send files as a form, in one step of CVAT's upload protocol. Raises as `json` does.

        Args:
            path: The path on the server.
            fields: Further fields of the form.
            files: The files by field name, each a file name and its bytes.
            step: The header that names the step, such as `Upload-Multiple`.
        """
        form = requests.Request("POST", self.url, data=fields, files=files).prepare()
        assert isinstance(form.body, bytes)
        headers = {"Content-Type": form.headers["Content-Type"], step: ""}
        self._send("POST", path, data=form.body, headers=headers)

    def close(self) -> None:
        """Close the connections. The token stays valid: logging out would end it for every client."""
        self._session.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        into: IO[bytes] | None = None,
        max_bytes: int = MAX_JSON_BYTES,
        validate: BodyValidator | None = None,
    ) -> tuple[requests.Response, bytes]:
        self._check_reachable()
        is_read = method in ("GET", "HEAD", "OPTIONS") or path == _LOGIN
        options = {"params": params, "data": data, "headers": dict(headers or {})}

        def send(auth: AuthBase) -> tuple[requests.Response, bytes]:
            return self._send_once(method, path, auth, into, max_bytes, validate, options)

        def attempt() -> tuple[requests.Response, bytes]:
            auth = NoAuth() if anonymous else self._session.auth
            try:
                return send(auth)
            except AuthenticationError:
                if anonymous or not self._log_in_again(auth):
                    raise
            return send(self._session.auth)

        return self._retry.retrying(
            retry_on=_may_repeat_read if is_read else _may_repeat_write, on_retry=self._on_retry
        )(attempt)

    def _send_once(
        self,
        method: str,
        path: str,
        auth: AuthBase,
        into: IO[bytes] | None,
        max_bytes: int,
        validate: BodyValidator | None,
        options: Mapping[str, Any],
    ) -> tuple[requests.Response, bytes]:
        try:
            with self._session.request(
                method,
                self.url + path,
                timeout=self._timeout,
                verify=self._verify,  # at the session, REQUESTS_CA_BUNDLE would overrule it
                auth=auth,
                stream=True,
                **options,
            ) as response:
                if not response.ok:
                    error = api_error(response, method, path)
                    raise self._organization_error(error) or error
                if not 200 <= response.status_code < 300:
                    raise redirect_error(response, method, self.url, path)
                if into is None:
                    return response, read_body(response, max_bytes)
                write_body(response, into, max_bytes)
                problem = validate and validate(into)
        except requests.RequestException as error:
            raise transport_error(error, method, self.url, path) from None
        if problem:
            raise TransportError(
                f"{method} {self.url}{path} was answered with {response.status_code}"
                f" {response.headers.get('Content-Type', 'and no content type')}: {problem}",
                retry_after=retry_after(response),
            )
        return response, b""

    def _check_reachable(self) -> None:
        if not self._is_reachable:
            check_reachable(
                self._session,
                self.url,
                timeout=self._timeout,
                options={"verify": self._verify, "auth": NoAuth()},
                retry=self._retry,
                on_retry=self._on_retry,
            )
            self._is_reachable = True

    def _organization_error(self, error: ApiError) -> OrganizationError | None:
        """What CVAT 2.73 answers on every route, also where something is asked for by its id."""
        if error.status != 404 or not self.organization:
            return None
        if error.detail != f"{self.organization} organization does not exist.":
            return None
        return OrganizationError(
            f"there is no organization {self.organization!r} on {self.url};"
            " give the short name of one, or none (organization, --org)"
        )

    def _log_in_again(self, refused: object) -> bool:
        """Get a new token for one that has died; False without a password to do it with."""
        if self._password is None:
            return False
        with self._login_lock:
            if self._session.auth is refused:  # else another thread has done it already
                self.login(*self._password)
        return True


def _may_repeat_read(error: BaseException) -> bool:
    if isinstance(error, TransportError):
        return not isinstance(error, TlsError)
    return isinstance(error, ApiError) and error.status in (429, 500, 502, 503, 504)


def _may_repeat_write(error: BaseException) -> bool:
    return isinstance(error, TooManyRequestsError)
