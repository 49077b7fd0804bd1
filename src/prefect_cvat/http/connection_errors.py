"""Errors for requests without a response, with the cause and how to fix it."""

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
"""Maximum length of a reason: some libraries put everything that a server has sent into it."""

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def transport_error(error: requests.RequestException, method: str, url: str, path: str) -> TransportError:
    """Convert an error of `requests`, which may be long and wrap others."""
    where = f"{method} {url}{path}"
    was_sent = not _is_without_connection(error)
    match error:
        case requests.exceptions.SSLError():
            return TlsError(
                f"{where}: the server's TLS certificate could not be verified ({_innermost(error)});"
                " name the CA bundle of its authority (--ca-bundle on the command line, verify in Python), or"
                f" pass {argument('verify', False)} if you trust the network"
            )
        case requests.Timeout() | requests.ConnectionError(args=(ReadTimeoutError(), *_)):
            return RequestTimeoutError(f"{where}: no answer in time ({_innermost(error)})", was_sent=was_sent)
        case _:
            return TransportError(f"{where}: {_innermost(error)}", was_sent=was_sent)


def failure_reason(error: requests.RequestException) -> str:
    """Why a server could not be reached: name, port, network or time-out."""
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
    """An error and all errors that it wraps, innermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found[::-1]


def _is_without_connection(error: requests.RequestException) -> bool:
    """Whether a request failed before there was a connection: refused, or unknown host."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    # urllib3 raises this if a request failed before anything was sent
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)


def _innermost(error: BaseException) -> str:
    """The message of the innermost error."""
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
