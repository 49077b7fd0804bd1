"""The errors of prefect-cvat, one tree.

Every error is a `PrefectCvatError` and also the builtin that fits, so that both
`except PrefectCvatError` and, say, `except TimeoutError` do what one expects::

    PrefectCvatError
    ├── ApiError                    the server answered, and refused
    │   ├── BadRequestError         ValueError       400 and other 4xx
    │   ├── AuthenticationError     PermissionError  401, or a log-in that was refused
    │   ├── PermissionDeniedError   PermissionError  403
    │   ├── NotFoundError           LookupError      404
    │   ├── RedirectError           ValueError       3xx: it is at another address
    │   ├── TooManyRequestsError    TimeoutError     429, after all retries
    │   └── ServerError             ConnectionError  5xx
    ├── TransportError              ConnectionError  no answer came
    │   ├── RequestTimeoutError     TimeoutError     not in time
    │   ├── TlsError                                 the certificate was not accepted
    │   └── UnreachableError                         nothing has ever answered at this address
    ├── InvalidResponseError        ValueError       an answer that CVAT would not give
    │   └── ResponseTooLargeError                    larger, deeper or of more pages than is read
    ├── ReadOnlyTokenError          PermissionError  an access token with which nothing can be written
    ├── OrganizationError           ValueError       an organization that there is not, or not the task's
    ├── UnsupportedTaskError        ValueError       a task that cannot be annotated (3D, audio, ...)
    ├── NoDataError                 LookupError      a task without images
    ├── MediaError                  ValueError       a chunk or a frame that cannot be read
    ├── UploadError                 RuntimeError     the server stored something else than was sent
    ├── JobBusyError                RuntimeError     somebody keeps writing to a job
    ├── IncompleteRunError          RuntimeError     a run that has not got all to the server as it should be
    ├── RunInProgressError          RuntimeError     another run is annotating the task
    ├── RunsFailedError             RuntimeError     some of the runs that a run has started
    ├── RunNotFoundError            LookupError      there is no record of such a run
    ├── RunStoppedError             RuntimeError     a stage that was not begun, since its run is to stop
    ├── StorageError                OSError          the disk does not take what is to be written
    ├── NothingToEvaluateError      LookupError      no truth, or nothing to hold against it
    ├── NothingToExportError        LookupError      no frames, or no annotations on them
    ├── MissingLibraryError         ImportError      a library of an extra is not installed
    ├── FunctionLoadError           ImportError      an auto-annotation function that cannot be loaded
    └── BadFunctionError            ValueError       a function that breaks its contract
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_cvat.messages.bounded_text import shorten

if TYPE_CHECKING:
    from prefect_cvat.runs.report import RunReport

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadFunctionError",
    "BadRequestError",
    "FunctionLoadError",
    "IncompleteRunError",
    "InvalidResponseError",
    "JobBusyError",
    "MediaError",
    "MissingLibraryError",
    "NoDataError",
    "NotFoundError",
    "NothingToEvaluateError",
    "NothingToExportError",
    "OrganizationError",
    "PermissionDeniedError",
    "PrefectCvatError",
    "ReadOnlyTokenError",
    "RedirectError",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "RunInProgressError",
    "RunNotFoundError",
    "RunStoppedError",
    "RunsFailedError",
    "ServerError",
    "StorageError",
    "TlsError",
    "TooManyRequestsError",
    "TransportError",
    "UnreachableError",
    "UnsupportedTaskError",
    "UploadError",
    "is_transient",
]


class PrefectCvatError(Exception):
    """The root of all errors that this package raises on purpose. What it says is of bounded length."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(shorten(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        # as they come back from other machines: some take more than the message when they are made
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[PrefectCvatError], args: tuple[Any, ...], state: dict[str, Any]) -> PrefectCvatError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ApiError(PrefectCvatError):
    """The CVAT server answered a request with an error.

    Attributes:
        status: The HTTP status, such as 404.
        method: The HTTP method, such as `"GET"`.
        path: The path that was asked for, without the query.
        detail: The server's own words, in one line.
        request_id: The server's `X-Request-Id`, or None; an administrator finds the request by it.
        is_html: Whether the answer was a page of HTML: of a proxy, or of the web framework that CVAT is
            built on, but none of CVAT's API.
        retry_after: Seconds that the server asks to wait before the next attempt, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        method: str,
        path: str,
        detail: str = "",
        request_id: str | None = None,
        is_html: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.method = method
        self.path = path
        self.detail = detail
        self.request_id = request_id
        self.is_html = is_html
        self.retry_after = retry_after


class BadRequestError(ApiError, ValueError):
    """The server found the request itself wrong (400 and other 4xx)."""


class AuthenticationError(ApiError, PermissionError):
    """The credentials were missing, wrong, revoked or expired."""


class PermissionDeniedError(ApiError, PermissionError):
    """The credentials are good, but this user may not do this (403)."""


class NotFoundError(ApiError, LookupError):
    """There is no such thing on the server (404)."""


class RedirectError(ApiError, ValueError):
    """The server sends whoever asks to another address (3xx). Redirects are not followed."""


class TooManyRequestsError(ApiError, TimeoutError):
    """The server kept answering 429 for longer than we wait."""


class ServerError(ApiError, ConnectionError):
    """The server, or a proxy before it, failed (5xx)."""


class TransportError(PrefectCvatError, ConnectionError):
    """No usable answer came: the address, the network or the connection failed.

    Attributes:
        was_sent: Whether the server may have received the request: False if there was no connection.
        retry_after: Seconds that the server asks to wait before the next attempt, or None.
    """

    def __init__(self, message: str, *, was_sent: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        self.retry_after = retry_after


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer came in time. The server may still carry out what was asked."""


class TlsError(TransportError):
    """The server's certificate could not be verified."""


class UnreachableError(TransportError):
    """Nothing has answered at the address of the server, in the ten seconds that a first contact may take.

    The request itself was not sent. Nothing of this process has had an answer from there before.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, was_sent=False)


class InvalidResponseError(PrefectCvatError, ValueError):
    """The server's answer is not one that CVAT gives: HTML for JSON, wrong counts, missing fields."""


class ResponseTooLargeError(InvalidResponseError):
    """The server's answer has more bytes, more levels or more pages than are read of any answer."""


class ReadOnlyTokenError(PrefectCvatError, PermissionError):
    """The access token was made read-only: CVAT refuses everything that writes."""


class OrganizationError(PrefectCvatError, ValueError):
    """The organization that was named does not exist, or what was asked for is in another one."""


class UnsupportedTaskError(PrefectCvatError, ValueError):
    """The task is of a kind that cannot be annotated here: 3D, audio, or a video without PyAV."""


class NoDataError(PrefectCvatError, LookupError):
    """The task has no images yet."""


class MediaError(PrefectCvatError, ValueError):
    """A chunk or a frame cannot be read; the message names it."""


class UploadError(PrefectCvatError, RuntimeError):
    """The server stored something else than what was sent to it."""


class JobBusyError(PrefectCvatError, RuntimeError):
    """Somebody writes to a job so often that nothing can be removed from it without harm to that work."""


class IncompleteRunError(PrefectCvatError, RuntimeError):
    """A run is over, and not all is on the server as it should be; running it again completes it.

    Attributes:
        report: What the run has done, a `RunReport`.
    """

    def __init__(self, message: str, report: RunReport) -> None:
        super().__init__(message)
        self.report = report


class RunInProgressError(PrefectCvatError, RuntimeError):
    """Another run is annotating the task. Two at a time would add up what both write."""


class NothingToEvaluateError(PrefectCvatError, LookupError):
    """There is nothing to evaluate, or nothing to hold it against."""


class NothingToExportError(PrefectCvatError, LookupError):
    """There are no frames to export, or no annotations on them."""


class RunsFailedError(PrefectCvatError, RuntimeError):
    """Some of the runs that a run has started, one for each task or shard, did not complete."""


class RunNotFoundError(PrefectCvatError, LookupError):
    """There is no record of such a run, so what it has added is not known."""


class RunStoppedError(PrefectCvatError, RuntimeError):
    """A stage was not begun because its run is being stopped, by a failure or by whoever cancelled it."""


class StorageError(PrefectCvatError, OSError):
    """The disk does not take what is to be written."""


class MissingLibraryError(PrefectCvatError, ImportError):
    """A library is not installed that comes with an extra of this package."""


class FunctionLoadError(PrefectCvatError, ImportError):
    """An auto-annotation function cannot be found or made."""


class BadFunctionError(PrefectCvatError, ValueError):
    """An auto-annotation function breaks its contract, or does not fit the task."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: the network or the server failed, not the request."""
    if isinstance(error, ApiError):
        return isinstance(error, ServerError | TooManyRequestsError)
    return isinstance(error, TransportError) and not isinstance(error, TlsError)
