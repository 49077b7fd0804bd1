"""HTTP to a CVAT server: credentials, time-outs, retries, and errors that one can read.

Two rules of CVAT 2.73 shape the headers: `Accept: application/json` is refused with 406, and a body
sent as `application/vnd.cvat+json` with 415. Neither must change.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import requests
from pydantic import SecretStr
from requests.auth import AuthBase
from urllib3 import Retry
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from prefect_cvat.answers import drop_redirect_body, read_body, write_body
from prefect_cvat.error_bodies import api_error
from prefect_cvat.exceptions import (
    AnswerTooLargeError,
    ApiError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    OrganizationError,
    RequestTimeoutError,
    TlsError,
    TransportError,
)
from prefect_cvat.json_bounds import MOST_JSON_BYTES, parse_json
from prefect_cvat.paced_connections import PacedAdapter, SlowAnswerError
from prefect_cvat.server_url import normalize_url

__all__ = ["RetryPolicy", "Transport"]

logger = logging.getLogger(__name__)

_LOGIN = "/api/auth/login"


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a request is sent again.

    Requests that only read, and log-ins, are sent again after a connection error, a time-out, 429, 500,
    502, 503 and 504, and where what came for a chunk is not one. Requests that write are sent again after
    429 alone: that one says that nothing was done.

    Attributes:
        give_up_after: Seconds from the first attempt after which no further one is made.
        first_delay: Seconds before the second attempt; each further wait is twice as long.
        longest_delay: Seconds that a wait grows to. A `Retry-After` of the server takes precedence.
    """

    give_up_after: float = 300.0
    first_delay: float = 0.5
    longest_delay: float = 20.0

    def delay(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after the given attempt (1 is the first), with up to 25 % of jitter."""
        if retry_after is not None:
            return max(retry_after, self.first_delay)
        delay = min(self.longest_delay, self.first_delay * 2.0 ** min(attempt - 1, 16))
        return delay * random.uniform(0.75, 1.0)  # noqa: S311 (spreads clients, guards nothing)


class _TokenAuth(AuthBase):
    """Sends the token. As an auth object, so that no .netrc entry can take its place."""

    def __init__(self, scheme: str, token: SecretStr) -> None:
        self._scheme = scheme
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"{self._scheme} {self._token.get_secret_value()}"
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
    """

    def __init__(
        self,
        url: str,
        *,
        organization: str | None = None,
        verify: bool | str = True,
        timeout: tuple[float, float] = (10.0, 75.0),
        retry: RetryPolicy | None = None,
    ) -> None:
        self.url = normalize_url(url)
        self.organization = organization
        self._timeout = timeout
        if isinstance(verify, str) and not Path(verify).exists():
            raise TlsError(f"there is no CA bundle at {verify!r}, with which to verify {self.url}")
        self._verify = verify
        self._retry = retry or RetryPolicy()
        self._login_lock = threading.Lock()
        self._password: tuple[str, SecretStr] | None = None
        self._session = requests.Session()
        self._session.auth = _NoAuth()
        self._session.hooks["response"].append(drop_redirect_body)
        self._session.mount("http://", PacedAdapter())
        self._session.mount("https://", PacedAdapter())
        # A session cookie would put every write under CSRF rules; the token needs none.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(
            {
                "User-Agent": f"prefect-cvat/{version('prefect-cvat')}",
                "Accept": "application/vnd.cvat+json",
                "Accept-Encoding": "gzip, deflate",  # and none of those that are unpacked without bounds
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
        problem_of: Callable[[IO[bytes]], str | None] | None = None,
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
        problem_of: Callable[[IO[bytes]], str | None] | None = None,
    ) -> tuple[requests.Response, bytes]:
        changes_nothing = method in ("GET", "HEAD", "OPTIONS") or path == _LOGIN
        started = time.monotonic()
        attempt = 0
        logged_in_again = False
        while True:
            attempt += 1
            auth = _NoAuth() if anonymous else self._session.auth
            retry_after = None
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
                    allow_redirects=method == "GET",
                    stream=True,
                ) as response:
                    content, problem, refusal = b"", None, None
                    if not response.ok or response.is_redirect:
                        refusal = api_error(response, method, path)
                    elif into is None:
                        content = read_body(response, most_bytes)
                    else:
                        write_body(response, into, most_bytes)
                        problem = problem_of and problem_of(into)
            except requests.RequestException as error:
                failure: Exception = _transport_error(error, method, self.url, path)
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
                retry_after = _retry_after(response)
            delay = self._retry.delay(attempt, retry_after)
            if not may_retry or time.monotonic() - started + delay > self._retry.give_up_after:
                raise failure
            logger.info("%s; attempt %d follows in %.1f s", failure, attempt + 1, delay)
            time.sleep(delay)

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


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After")
    try:
        return None if value is None else Retry().parse_retry_after(value)
    except Exception:  # urllib3 has an error of its own for it; a garbled header is no header
        return None


def _transport_error(error: requests.RequestException, method: str, url: str, path: str) -> TransportError:
    where = f"{method} {url}{path}"
    was_sent = not _is_without_connection(error)
    match error:
        case requests.exceptions.SSLError():
            return TlsError(
                f"{where}: the server's TLS certificate could not be verified ({_reason(error)});"
                " pass verify='path of the CA bundle', or verify=False if you trust the network"
            )
        case requests.Timeout() | requests.ConnectionError(args=(ReadTimeoutError(), *_)):
            return RequestTimeoutError(f"{where}: no answer in time ({_reason(error)})", was_sent=was_sent)
        case _:
            return TransportError(f"{where}: {_reason(error)}", was_sent=was_sent)


def _is_without_connection(error: requests.RequestException) -> bool:
    """Whether a request failed for want of a connection: it was refused, or the host is not known."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    # urllib3 wraps what has failed before it sent anything in an error of its own
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)


def _reason(error: BaseException) -> str:
    """The innermost message: requests and urllib3 wrap one another."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SlowAnswerError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    inner: object = error
    while isinstance(inner, BaseException):
        reason = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(reason, BaseException):
            break
        inner = reason
    return str(inner) or type(inner).__name__
