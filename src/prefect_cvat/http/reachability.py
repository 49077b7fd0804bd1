"""Checks whether a server can be reached, before any credentials are sent to it.

A wrong host or port must be reported soon, but a server that has responded before is worth waiting for. So
the first request of a process to a server is CVAT's public `server/about`, without credentials, as in the
official SDK. A redirect to HTTPS shows before a password has gone over the network unencrypted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import requests

from prefect_cvat.exceptions import UnreachableError
from prefect_cvat.http.connection_errors import failure_reason, transport_error
from prefect_cvat.http.redirects import redirect_error, redirected_server
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.messages.plurals import pluralize

__all__ = ["REACHABILITY_PATH", "REACHABILITY_TIMEOUT", "check_reachable"]

REACHABILITY_PATH = "/api/server/about"
"""Needs no credentials. A response of any status is enough: some servers restrict it."""

REACHABILITY_TIMEOUT = 10.0
"""Seconds to wait for a server that has not responded to this process before."""

_answered: set[str] = set()
"""The servers that have responded to this process: each run and each shard creates its own client."""


def check_reachable(
    session: requests.Session,
    url: str,
    *,
    timeout: tuple[float, float],
    options: Mapping[str, Any],
    retry: RetryPolicy,
    on_retry: Callable[[str], object],
) -> None:
    """Check that a server responds, unless it has responded to this process before.

    Args:
        session: Sends the request.
        url: The server's address.
        timeout: Seconds to wait for a connection, and for the next bytes of a response.
        options: Further arguments of `requests.Session.get`, such as `verify`.
        retry: How long to wait between attempts, and when to give up: at the latest after
            `REACHABILITY_TIMEOUT`.
        on_retry: Called with a line of text before each further attempt.

    Raises:
        UnreachableError: No response came.
        TlsError: The server's certificate could not be verified.
        RedirectError: The server redirects to another address.
    """
    if url in _answered:
        return
    started = time.monotonic()
    attempts = 0

    def attempt() -> requests.Response:
        nonlocal attempts
        attempts += 1
        left = max(0.5, REACHABILITY_TIMEOUT - (time.monotonic() - started))
        try:
            return _ask(session, url, left, timeout=(min(timeout[0], left), min(timeout[1], left)), **options)
        except requests.exceptions.SSLError as error:
            raise transport_error(error, "GET", url, REACHABILITY_PATH) from None
        except requests.RequestException as error:
            raise _NoResponseError(
                f"no server answers at {url} yet: {failure_reason(error)}", error
            ) from None

    retrying = retry.retrying(
        retry_on=lambda error: isinstance(error, _NoResponseError),
        on_retry=on_retry,
        give_up_after=min(retry.give_up_after, REACHABILITY_TIMEOUT),
    )
    try:
        response = retrying(attempt)
    except _NoResponseError as error:
        raise UnreachableError(
            f"no server answers at {url}: {failure_reason(error.args[1])} ({pluralize(attempts, 'attempt')}"
            f" in {time.monotonic() - started:.0f} s); check the address and port (url, --server-host,"
            " --server-port), and that the server runs"
        ) from None
    # a redirect to the log-in page of a proxy counts as a response: with a token there may be none
    if redirected_server(response, url, REACHABILITY_PATH) is not None:
        raise redirect_error(response, "GET", url, REACHABILITY_PATH)
    _answered.add(url)


class _NoResponseError(Exception):
    """No response came to one attempt. Has a message, and the error of requests."""

    def __str__(self) -> str:
        return str(self.args[0])


def _ask(session: requests.Session, url: str, seconds: float, **options: Any) -> requests.Response:
    """Send the request in a thread, and give up after some seconds.

    The timeouts of `requests` are not enough: name lookup has none, a name may have many addresses, and
    headers may arrive byte by byte.

    Raises:
        requests.RequestException: No response came.
    """
    outcome: Future[requests.Response] = Future()

    def ask() -> None:
        try:
            # the body is not read: it is not needed, and may be endless
            with session.get(
                url + REACHABILITY_PATH, headers={"X-Organization": None}, stream=True, **options
            ) as response:
                outcome.set_result(response)
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=ask, name="reachability check", daemon=True).start()
    try:
        # the timeouts of the request are shorter, and give a better reason
        return outcome.result(seconds + 0.5)
    except TimeoutError:
        raise requests.Timeout(f"timed out: no answer in {seconds:.0f} s") from None
