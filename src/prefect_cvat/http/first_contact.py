"""The first contact with a server: whether it is there, before anything that is secret goes to it.

A wrong host or port must show soon, while a server that has answered once is waited for when it is away. So
the first request of a process to an address asks for CVAT's public `server/about`, as the official SDK does,
without credentials: whatever answers is there, and what redirects to HTTPS says so before a password has gone
over the network in the clear.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import requests

from prefect_cvat.exceptions import UnreachableError
from prefect_cvat.http.connection_errors import reason_of, transport_error
from prefect_cvat.http.redirects import moved_to, redirect_error
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.messages.plurals import pluralize

__all__ = ["CONTACT_PATH", "CONTACT_SECONDS", "make_contact"]

CONTACT_PATH = "/api/server/about"
"""Open to everybody; an answer of any status will do, also of servers that are no longer open to all."""

CONTACT_SECONDS = 10.0
"""How long to wait for a server that has never answered, in seconds."""

_answered: set[str] = set()
"""The addresses that have answered this process: each run and each shard of it makes a client of its own."""


def make_contact(
    session: requests.Session,
    url: str,
    *,
    timeout: tuple[float, float],
    options: Mapping[str, Any],
    retry: RetryPolicy,
    tell: Callable[[str], object],
) -> None:
    """Have an answer from a server, unless this process has had one already.

    Args:
        session: What the request is sent with.
        url: The server's address.
        timeout: Seconds to wait for a connection, and for an answer, if that is less than what is left.
        options: How else requests to it are sent: `verify` and the like.
        retry: How long to wait between attempts. They end after `CONTACT_SECONDS`, or earlier if it says so.
        tell: Is told that a further attempt follows, and why.

    Raises:
        UnreachableError: No answer came.
        TlsError: The server's certificate could not be verified.
        RedirectError: The server says that it is at another address.
    """
    if url in _answered:
        return
    started = time.monotonic()
    patience = min(retry.give_up_after, CONTACT_SECONDS)
    attempt = 0
    while True:
        attempt += 1
        left = max(0.5, CONTACT_SECONDS - (time.monotonic() - started))
        try:
            answer = _ask(
                session, url, left, timeout=(min(timeout[0], left), min(timeout[1], left)), **options
            )
        except requests.exceptions.SSLError as error:
            raise transport_error(error, "GET", url, CONTACT_PATH) from None
        except requests.RequestException as error:
            reason = reason_of(error)
        else:
            # a redirect to a log-in page of a proxy counts as an answer: with a token it may not come
            if moved_to(answer, url, CONTACT_PATH) is not None:
                raise redirect_error(answer, "GET", url, CONTACT_PATH)
            _answered.add(url)
            return
        delay = retry.delay(attempt)
        waited = time.monotonic() - started
        if waited + delay > patience:
            raise UnreachableError(
                f"no server answers at {url}: {reason} ({pluralize(attempt, 'attempt')} in {waited:.0f} s);"
                " check the address and port (url, --server-host, --server-port), and that the server runs"
            )
        tell(f"no server answers at {url} yet: {reason}; attempt {attempt + 1} follows in {delay:.1f} s")
        time.sleep(delay)


def _ask(session: requests.Session, url: str, seconds: float, **options: Any) -> requests.Response:
    """Send the request, and give up after so many seconds, whatever takes them.

    Looking up a name has no time-out, a name may have many addresses, and a head may come byte by byte.

    Raises:
        requests.RequestException: No answer came.
    """
    outcome: Future[requests.Response] = Future()

    def ask() -> None:
        try:
            # the body is not read: it is not needed, and may be endless
            with session.get(
                url + CONTACT_PATH, headers={"X-Organization": None}, stream=True, **options
            ) as response:
                outcome.set_result(response)
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=ask, name="first contact", daemon=True).start()
    try:
        # the time-outs of the request come first: they give a better reason
        return outcome.result(seconds + 0.5)
    except TimeoutError:
        raise requests.Timeout(f"timed out: no answer in {seconds:.0f} s") from None
