"""HTTP to a CVAT server: credentials, time-outs, retries, and errors that one can read.

Two rules of CVAT 2.73 shape the headers: `Accept: application/json` is refused with 406, and a body
sent as `application/vnd.cvat+json` with 415. Neither must change.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import requests
from pydantic import SecretStr
from pydantic_core import from_json
from requests.auth import AuthBase

from prefect_cvat.connection_errors import transport_error
from prefect_cvat.error_bodies import api_error
from prefect_cvat.exceptions import (
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    OrganizationError,
    StorageError,
    TlsError,
)
from prefect_cvat.first_contact import make_contact
from prefect_cvat.redirects import DirectSession, redirect_error
from prefect_cvat.retry_policy import RetryPolicy, retry_after
from prefect_cvat.server_url import normalize_url

__all__ = ["RetryPolicy", "Transport"]

logger = logging.getLogger(__name__)

_LOGIN = "/api/auth/login"


class _TokenAuth(AuthBase):
    """Sends the token. As an auth object, so that no .netrc entry can take its place."""

    def __init__(self, scheme: str, token: SecretStr) -> None:
        self.scheme = scheme
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"{self.scheme} {self._token.get_secret_value()}"
        return request


class _NoAuth(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


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
        has_answered: Whether the server is known to be there, as another process has asked it just now. Then
            it is waited for from the first request on as `retry` says, and not just for some ten seconds.
        tell: Is told, in a line, that a request failed and will be sent again; by default the log is, as a
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
        has_answered: bool = False,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.url = normalize_url(url)
        self.organization = organization
        self._timeout = timeout
        if isinstance(verify, str) and not Path(verify).exists():
            raise TlsError(f"there is no CA bundle at {verify!r}, with which to verify {self.url}")
        # read anew for each connection, and a function may go to another folder meanwhile
        self._verify = str(Path(verify).absolute()) if isinstance(verify, str) else verify
        self._retry = retry or RetryPolicy()
        self._has_answered = has_answered
        self._tell = tell or logger.warning
        self._login_lock = threading.Lock()
        self._password: tuple[str, SecretStr] | None = None
        self._session = DirectSession()
        self._session.auth = _NoAuth()
        # A session cookie would put every write under CSRF rules; the token needs none.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(
            {"User-Agent": f"prefect-cvat/{version('prefect-cvat')}", "Accept": "application/vnd.cvat+json"}
        )
        if organization is not None:
            self._session.headers["X-Organization"] = organization

    def use_access_token(self, token: SecretStr) -> None:
        """Send a personal access token with each request from now on.

        Raises:
            ValueError: It cannot be one.
        """
        text = token.get_secret_value().strip()
        if not (text.isascii() and text.isprintable()) or not text or " " in text:
            raise ValueError("the access token is empty, or has characters that no token has; copy it again")
        self._session.auth = _TokenAuth("Bearer", SecretStr(text))
        self._password = None

    @property
    def uses_access_token(self) -> bool:
        """Whether it is a personal access token that requests are sent with."""
        return isinstance(self._session.auth, _TokenAuth) and self._session.auth.scheme == "Bearer"

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
        self._session.auth = _TokenAuth("Token", SecretStr(answer["key"]))
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
    ) -> Any:
        """Send a request and return what the JSON of its answer says, or None for an empty answer.

        Args:
            method: The HTTP method.
            path: The path on the server, from `/api` on.
            params: The query.
            body: What to send as JSON; bytes are taken for JSON that is ready.
            headers: Further headers.
            anonymous: Send no credentials.

        Raises:
            ApiError: The server refused, or failed.
            TransportError: No answer came.
            InvalidResponseError: The answer is not JSON.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**({} if data is None else {"Content-Type": "application/json"}), **(headers or {})}
        response = self._send(method, path, params=params, data=data, headers=headers, anonymous=anonymous)
        if response.status_code == 204 or not response.content:
            return None
        try:
            return from_json(response.content)
        except ValueError:
            raise InvalidResponseError(
                f"{method} {self.url}{path} answered {response.status_code} with"
                f" {response.headers.get('Content-Type', 'no content type')} where JSON was expected;"
                " is this the address of a CVAT server?"
            ) from None

    def content(self, path: str, *, params: Mapping[str, str | int] | None = None) -> bytes:
        """Get binary data, complete or not at all. Raises as `json` does."""
        return self._send("GET", path, params=params, headers={"Accept": "*/*"}).content

    def download(self, path: str, file: IO[bytes]) -> None:
        """Write binary data to a file, complete, and go to its beginning. Raises as `json` does."""
        self._send("GET", path, into=file)
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
    ) -> requests.Response:
        changes_nothing = method in ("GET", "HEAD", "OPTIONS") or path == _LOGIN
        started = time.monotonic()
        attempt = 0
        logged_in_again = False
        self._make_contact()
        while True:
            attempt += 1
            auth = _NoAuth() if anonymous else self._session.auth
            asked_to_wait = None
            try:
                response = self._session.request(
                    method,
                    self.url + path,
                    params=params,
                    data=data,
                    headers=dict(headers or {}),
                    timeout=self._timeout,
                    verify=self._verify,  # at the session, REQUESTS_CA_BUNDLE would overrule it
                    auth=auth,
                    stream=into is not None,
                )
                if into is not None and _is_complete(response):
                    _write_content(response, into)
            except requests.RequestException as error:
                failure: Exception = transport_error(error, method, self.url, path)
                may_retry = changes_nothing and not isinstance(failure, TlsError)
            else:
                if _is_complete(response):
                    return response
                if response.ok:
                    raise redirect_error(response, method, self.url, path)
                if response.status_code == 401 and not anonymous and not logged_in_again:
                    logged_in_again = True
                    if self._log_in_again(auth):
                        continue
                failure = self._organization_error(response, method, path) or api_error(
                    response, method, path
                )
                may_retry = response.status_code == 429 or (
                    changes_nothing and response.status_code in (502, 503, 504)
                )
                asked_to_wait = retry_after(response)
            delay = self._retry.delay(attempt, asked_to_wait)
            if not may_retry or time.monotonic() - started + delay > self._retry.give_up_after:
                raise failure
            self._tell(f"{failure}; attempt {attempt + 1} follows in {delay:.1f} s")
            time.sleep(delay)

    def _make_contact(self) -> None:
        if not self._has_answered:
            make_contact(
                self._session,
                self.url,
                timeout=self._timeout,
                options={"verify": self._verify, "auth": _NoAuth()},
                retry=self._retry,
                tell=self._tell,
            )
            self._has_answered = True

    def _organization_error(
        self, response: requests.Response, method: str, path: str
    ) -> OrganizationError | None:
        """What CVAT 2.73 answers on every route, also where something is asked for by its id."""
        if response.status_code != 404 or not self.organization:
            return None
        if api_error(response, method, path).detail != f"{self.organization} organization does not exist.":
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


def _is_complete(response: requests.Response) -> bool:
    """Whether an answer is what was asked for: neither an error nor a redirect."""
    return 200 <= response.status_code < 300


def _write_content(response: requests.Response, file: IO[bytes]) -> None:
    file.seek(0)  # this may not be the first attempt
    file.truncate()
    for part in response.iter_content(2**20):
        try:
            file.write(part)
        except OSError as error:
            raise StorageError(f"the answer to GET {response.url} cannot be written: {error}") from error
