"""Why no answer came, in words that one can act upon."""

from __future__ import annotations

import errno
import http.client
import socket

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
)

from prefect_cvat.exceptions import RequestTimeoutError, TlsError, TransportError
from prefect_cvat.http.slow_responses import SlowResponseError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import one_line

__all__ = ["failure_reason", "transport_error"]

MAX_REASON_LENGTH = 300
"""How many characters of a reason are shown: some libraries put all that a server has sent into it."""

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def transport_error(error: requests.RequestException, method: str, url: str, path: str) -> TransportError:
    """Make one of our errors of one of requests', which may be very long and wrap others."""
    where = f"{method} {url}{path}"
    was_sent = not _is_without_connection(error)
    match error:
        case requests.exceptions.SSLError():
            return TlsError(
                f"{where}: the server's TLS certificate could not be verified ({_innermost(error)});"
                " set REQUESTS_CA_BUNDLE to the path of the CA bundle, or pass"
                f" {argument('verify', False)} if you trust the network"
            )
        case requests.Timeout() | requests.ConnectionError(args=(ReadTimeoutError(), *_)):
            return RequestTimeoutError(f"{where}: no answer in time ({_innermost(error)})", was_sent=was_sent)
        case _:
            return TransportError(f"{where}: {_innermost(error)}", was_sent=was_sent)


def failure_reason(error: requests.RequestException) -> str:
    """Why a server could not be reached: its name, its port, the way to it, or the time that it took."""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return f"its name cannot be looked up in DNS ({cause.strerror or cause})"
            case ConnectionResetError():
                return "the connection was reset"
            case ConnectionRefusedError():
                return "Connection refused: nothing listens on this port"
            case OSError(errno=number) if number in _UNREACHABLE:
                return f"it cannot be reached from this network ({cause.strerror})"
            case http.client.BadStatusLine():
                return f"it does not speak HTTP, but answers {one_line(cause, MAX_REASON_LENGTH)}"
            case ConnectTimeoutError():
                return "timed out: it does not take a connection"
            case ReadTimeoutError():
                return "timed out: it takes connections, and does not answer"
    return _innermost(error)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and all that it wraps, from the inside out: requests and urllib3 do it in several ways."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found[::-1]


def _is_without_connection(error: requests.RequestException) -> bool:
    """Whether a request failed without a connection: it was refused, or the host is not known."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    # urllib3 wraps what has failed before it sent anything in an error of its own
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)


def _innermost(error: BaseException) -> str:
    """The innermost message: requests and urllib3 wrap one another."""
    for cause in _causes(error):
        if isinstance(cause, SlowResponseError):
            return str(cause)
    inner: object = error
    while isinstance(inner, BaseException):
        reason = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(reason, BaseException):
            break
        inner = reason
    return one_line(str(inner) or type(inner).__name__, MAX_REASON_LENGTH)
