"""Sends requests to a server: retries, errors, and reading of the responses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import requests
from requests.auth import AuthBase

from prefect_cvat.exceptions import (
    ApiError,
    AuthenticationError,
    OrganizationError,
    RequestTimeoutError,
    TlsError,
    TooManyRequestsError,
    TransportError,
)
from prefect_cvat.http.connection_errors import transport_error
from prefect_cvat.http.error_responses import api_error, retry_after
from prefect_cvat.http.interruption import Interruption
from prefect_cvat.http.json_limits import MAX_JSON_BYTES
from prefect_cvat.http.reachability import check_reachable
from prefect_cvat.http.redirects import redirect_error
from prefect_cvat.http.response_bodies import read_body, write_body
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.http.server_url import normalize_url
from prefect_cvat.http.session import NoAuth, make_session

__all__ = ["LOGIN_PATH", "BodyValidator", "RequestSender"]

logger = logging.getLogger(__name__)

LOGIN_PATH = "/api/auth/login"

BodyValidator = Callable[[IO[bytes]], str | None]
"""Returns what is wrong with a downloaded file, or None."""


class RequestSender:
    """Sends requests to one server. May be used from several threads.

    Args:
        url: The server's address, see `normalize_url`.
        organization: The short name (slug) of the organization to work in; `""` is the personal
            workspace, None everything that the user may see.
        verify: Whether to verify the server's TLS certificate, or the path of a CA bundle.
        timeout: Seconds to wait for a connection, and for the next bytes of a response. CVAT itself
            responds within 60 s (429 after 50 s for a chunk that is not ready).
        retry: When requests are sent again.
        assume_reachable: Do not check first, for at most ten seconds, whether the server can be reached.
        on_retry: Called with a line of text before a request is sent again; by default it is logged as a
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
        # read for each connection, and a function may change the working directory
        self._verify = str(Path(verify).absolute()) if isinstance(verify, str) else verify
        self._retry = retry or RetryPolicy()
        self._is_reachable = assume_reachable
        self._on_retry = on_retry or logger.warning
        self._session = make_session(organization)
        self._auth: AuthBase = NoAuth()

    def close(self) -> None:
        """Close the connections. The token stays valid: logging out would end it for every client."""
        self._session.close()

    def send(
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
        interruption: Interruption | None = None,
        is_repeated_when_slow: bool = True,
    ) -> tuple[requests.Response, bytes]:
        """Send a request, and retry it according to the retry policy.

        Args:
            method: The HTTP method.
            path: The path on the server.
            params: The query.
            data: The body.
            headers: Further headers.
            anonymous: Send no credentials.
            into: A file for the body of the response; None to return the body.
            max_bytes: Maximum size of the body in bytes.
            validate: Returns what is wrong with the file, or None.
            interruption: Can interrupt the request, and waits between attempts.
            is_repeated_when_slow: Whether a read is repeated after 504 and after a timeout.

        Returns:
            The response, and its body unless that was written to a file.
        """
        self._check_reachable()
        is_read = method in ("GET", "HEAD", "OPTIONS") or path == LOGIN_PATH
        options = {"params": params, "data": data, "headers": dict(headers or {})}

        def send(auth: AuthBase) -> tuple[requests.Response, bytes]:
            with nullcontext() if interruption is None else interruption.watching():
                return self._send_once(method, path, auth, into, max_bytes, validate, options)

        def attempt() -> tuple[requests.Response, bytes]:
            auth = NoAuth() if anonymous else self._auth
            try:
                return send(auth)
            except AuthenticationError:
                if anonymous or not self._renew_credentials(auth):
                    raise
            return send(self._auth)

        may_repeat = _may_repeat_read if is_read else _may_repeat_write
        if is_read and not is_repeated_when_slow:
            may_repeat = _may_repeat_quick_read
        if interruption is None:
            return self._retry.retrying(retry_on=may_repeat, on_retry=self._on_retry)(attempt)
        return self._retry.retrying(
            retry_on=lambda error: not interruption.is_set and may_repeat(error),
            on_retry=self._on_retry,
            pause=interruption.pause,
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
        """The error for CVAT 2.73's 404 about an unknown organization, which it gives on every route."""
        if error.status != 404 or not self.organization:
            return None
        if error.detail != f"{self.organization} organization does not exist.":
            return None
        return OrganizationError(
            f"there is no organization {self.organization!r} on {self.url};"
            " give the short name of one, or none (organization, --org)"
        )

    def _renew_credentials(self, refused: object) -> bool:  # noqa: ARG002 (for subclasses)
        """Replace credentials that the server has refused; return whether that was possible."""
        return False


def _may_repeat_read(error: BaseException) -> bool:
    if isinstance(error, TransportError):
        return not isinstance(error, TlsError)
    return isinstance(error, ApiError) and error.status in (429, 500, 502, 503, 504)


def _may_repeat_quick_read(error: BaseException) -> bool:
    is_slow = isinstance(error, RequestTimeoutError) or getattr(error, "status", None) == 504
    return _may_repeat_read(error) and not is_slow


def _may_repeat_write(error: BaseException) -> bool:
    return isinstance(error, TooManyRequestsError)
