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
from requests.auth import AuthBase

from prefect_cvat.exceptions import (
    AnswerTooLargeError,
    ApiError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    OrganizationError,
    TlsError,
    TransportError,
)
from prefect_cvat.http.connection_errors import transport_error
from prefect_cvat.http.error_responses import api_error
from prefect_cvat.http.first_contact import make_contact
from prefect_cvat.http.json_limits import MOST_JSON_BYTES, parse_json
from prefect_cvat.http.redirects import DirectSession, redirect_error
from prefect_cvat.http.response_bodies import read_body, write_body
from prefect_cvat.http.retry_policy import RetryPolicy, retry_after
from prefect_cvat.http.server_url import normalize_url
from prefect_cvat.http.slow_responses import PacedAdapter

__all__ = ["ProblemOf", "Transport"]

logger = logging.getLogger(__name__)

_LOGIN = "/api/auth/login"

ProblemOf = Callable[[IO[bytes]], str | None]
"""Says why what is in a file cannot be what was asked for; None if it can."""


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
        self._session.mount("http://", PacedAdapter())
        self._session.mount("https://", PacedAdapter())
        # A session cookie would put every write under CSRF rules; the token needs none.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(
            {
                "User-Agent": f"prefect-cvat/{version('prefect-cvat')}",
                "Accept": "application/vnd.cvat+json",
                "Accept-Encoding": "gzip, deflate",  # no encoding that would be unpacked without bounds
            }
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
        most_bytes: int = MOST_JSON_BYTES,
    ) -> Any:
        """Send a request and return what the JSON of its answer says, or None for an empty answer.

        Args:
            method: The HTTP method.
            path: The path on the server, from `/api` on.
            params: The query.
            body: What to send as JSON; bytes are taken for JSON that is ready.
            headers: Further headers.
            anonymous: Send no credentials.
            most_bytes: How long the answer may be, see `parse_json`.

        Raises:
            AnswerTooLargeError: The answer is longer, or stands for too many objects.
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
            most_bytes=most_bytes,
        )
        if response.status_code == 204 or not content:
            return None
        try:
            return parse_json(content, most_bytes)
        except AnswerTooLargeError as error:
            raise AnswerTooLargeError(f"{method} {self.url}{path}: {error}") from None
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
        most_bytes: int,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        problem_of: ProblemOf | None = None,
    ) -> None:
        """Write data to a file, complete, and go to its beginning. Raises as `json` does.

        Args:
            path: The path on the server.
            file: Where to write them.
            most_bytes: How many there may be.
            params: The query.
            headers: Further headers.
            problem_of: Says why what is in the file cannot be what was asked for, or None; then it is the
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
            most_bytes=most_bytes,
            problem_of=problem_of,
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
        most_bytes: int = MOST_JSON_BYTES,
        problem_of: ProblemOf | None = None,
    ) -> tuple[requests.Response, bytes]:
        changes_nothing = method in ("GET", "HEAD", "OPTIONS") or path == _LOGIN
        started = time.monotonic()
        failing_since: float | None = None  # of itself: with 500, and nothing else
        attempt = 0
        logged_in_again = False
        self._make_contact()
        while True:
            attempt += 1
            auth = _NoAuth() if anonymous else self._session.auth
            asked_to_wait = None
            is_500 = False
            try:
                with self._session.request(
                    method,
                    self.url + path,
                    params=params,
                    data=data,
                    headers=dict(headers or {}),
                    timeout=self._timeout,
                    verify=self._verify,  # at the session, REQUESTS_CA_BUNDLE would overrule it
                    auth=auth,
                    stream=True,
                ) as response:
                    content, problem, refusal = b"", None, None
                    if not response.ok:
                        refusal = api_error(response, method, path)
                    elif not 200 <= response.status_code < 300:
                        raise redirect_error(response, method, self.url, path)
                    elif into is None:
                        content = read_body(response, most_bytes)
                    else:
                        write_body(response, into, most_bytes)
                        problem = problem_of and problem_of(into)
            except requests.RequestException as error:
                failure: Exception = transport_error(error, method, self.url, path)
                may_retry = changes_nothing and not isinstance(failure, TlsError)
            else:
                if refusal is None and problem is None:
                    return response, content
                if response.status_code == 401 and not anonymous and not logged_in_again:
                    logged_in_again = True
                    if self._log_in_again(auth):
                        continue
                if refusal is None:
                    failure = TransportError(
                        f"{method} {self.url}{path} was answered with {response.status_code}"
                        f" {response.headers.get('Content-Type', 'and no content type')}: {problem}"
                    )
                else:
                    failure = self._organization_error(refusal) or refusal
                may_retry = response.status_code == 429 or (
                    changes_nothing and (refusal is None or response.status_code in (500, 502, 503, 504))
                )
                asked_to_wait = retry_after(response)
                is_500 = response.status_code == 500
            now = time.monotonic()
            failing_since = (failing_since or now) if is_500 else None
            delay = self._retry.delay(attempt, asked_to_wait)
            if not may_retry or self._is_over(now + delay, started, failing_since):
                raise failure
            self._tell(f"{failure}; attempt {attempt + 1} follows in {delay:.1f} s")
            time.sleep(delay)

    def _is_over(self, then: float, started: float, failing_since: float | None) -> bool:
        """Whether a further attempt would come too late."""
        if failing_since is not None and then - failing_since > self._retry.give_up_after_500:
            return True
        return then - started > self._retry.give_up_after

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
