"""The exceptions of prefect-cvat.

Each is a `PrefectCvatError` and also a matching builtin, so both `except PrefectCvatError` and, for example,
`except TimeoutError` work::

    PrefectCvatError
    ├── ApiError                    the server refused the request
    │   ├── BadRequestError         ValueError       400 and other 4xx
    │   ├── AuthenticationError     PermissionError  401, or a failed log-in
    │   ├── PermissionDeniedError   PermissionError  403
    │   ├── NotFoundError           LookupError      404
    │   ├── RedirectError           ValueError       3xx: the server is at another address
    │   ├── TooManyRequestsError    TimeoutError     429, after all retries
    │   └── ServerError             ConnectionError  5xx
    ├── TransportError              ConnectionError  no response came
    │   ├── RequestTimeoutError     TimeoutError     not in time
    │   ├── TlsError                                 the certificate could not be verified
    │   └── UnreachableError                         nothing has responded at this address
    ├── InvalidResponseError        ValueError       a response that is not one of CVAT's
    │   └── ResponseTooLargeError                    more bytes, levels or pages than are read
    ├── ReadOnlyTokenError          PermissionError  a read-only access token
    ├── OrganizationError           ValueError       an unknown organization, or not the task's
    ├── UnsupportedTaskError        ValueError       a task that cannot be annotated (3D, audio, ...)
    ├── NoDataError                 LookupError      a task without images
    ├── MediaError                  ValueError       a chunk or a frame that cannot be read
    ├── UploadError                 RuntimeError     the server stored something else than was sent
    ├── JobBusyError                RuntimeError     others keep writing to a job
    ├── JobsChangedError            RuntimeError     the jobs of a task changed during a run
    ├── IncompleteRunError          RuntimeError     a run that could not do all of its work
    ├── RunInProgressError          RuntimeError     another run is annotating the task
    ├── RunsFailedError             RuntimeError     some of the runs that a run has started
    ├── RunNotFoundError            LookupError      no record of such a run
    ├── RunStoppedError             RuntimeError     a stage not started because its run stops
    ├── StorageError                OSError          a file cannot be written
    ├── NothingToEvaluateError      LookupError      no ground truth, or nothing to evaluate
    ├── NothingToExportError        LookupError      no frames, or no annotations on them
    ├── NothingToLearnError         LookupError      nobody has looked at what runs have annotated
    ├── MissingLibraryError         ImportError      a library of an extra is not installed
    ├── FunctionLoadError           ImportError      an auto-annotation function that cannot be loaded
    ├── DeviceError                 RuntimeError     the GPU of a function has failed
    └── BadFunctionError            ValueError       a function that breaks its contract
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_cvat.messages.bounded_text import shorten

if TYPE_CHECKING:
    from prefect_cvat.runs.reports.report_model import RunReport

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadFunctionError",
    "BadRequestError",
    "DeviceError",
    "FunctionLoadError",
    "IncompleteRunError",
    "InvalidResponseError",
    "JobBusyError",
    "JobsChangedError",
    "MediaError",
    "MissingLibraryError",
    "NoDataError",
    "NotFoundError",
    "NothingToEvaluateError",
    "NothingToExportError",
    "NothingToLearnError",
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
    """Base of all errors that this package raises on purpose. Messages have a limited length."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(shorten(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        # for pickling: some classes take more arguments than the message
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
        path: The requested path, without the query.
        detail: The server's description of the error, in one line.
        request_id: The server's `X-Request-Id`, or None; an administrator finds the request by it.
        is_html: Whether the response was a page of HTML, from a proxy or from the web framework of CVAT, and
            not from CVAT's API.
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
    """The server found the request invalid (400 and other 4xx)."""


class AuthenticationError(ApiError, PermissionError):
    """The credentials were missing, wrong, revoked or expired."""


class PermissionDeniedError(ApiError, PermissionError):
    """This user may not do this (403)."""


class NotFoundError(ApiError, LookupError):
    """There is no such object on the server (404)."""


class RedirectError(ApiError, ValueError):
    """The server redirects to another address (3xx). Redirects are not followed."""


class TooManyRequestsError(ApiError, TimeoutError):
    """The server kept responding 429 until the retries ended."""


class ServerError(ApiError, ConnectionError):
    """The server, or a proxy before it, failed (5xx)."""


class TransportError(PrefectCvatError, ConnectionError):
    """No usable response came: the address, the network or the connection failed.

    Attributes:
        was_sent: Whether the server may have received the request: False if there was no connection.
        retry_after: Seconds that the server asks to wait before the next attempt, or None.
    """

    def __init__(self, message: str, *, was_sent: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        self.retry_after = retry_after


class RequestTimeoutError(TransportError, TimeoutError):
    """No response came in time. The server may still execute the request."""


class TlsError(TransportError):
    """The server's certificate could not be verified."""


class UnreachableError(TransportError):
    """The server did not respond to the check whether it can be reached, within ten seconds.

    The request itself was not sent. The server has not responded to this process before.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, was_sent=False)


class InvalidResponseError(PrefectCvatError, ValueError):
    """The response is not one that CVAT sends: HTML for JSON, wrong counts, missing fields."""


class ResponseTooLargeError(InvalidResponseError):
    """The response has more bytes, nesting levels or pages than are read."""


class ReadOnlyTokenError(PrefectCvatError, PermissionError):
    """The access token is read-only: CVAT refuses all writes."""


class OrganizationError(PrefectCvatError, ValueError):
    """The organization does not exist, or the requested object is in another one."""


class UnsupportedTaskError(PrefectCvatError, ValueError):
    """The task is of a kind that cannot be annotated here: 3D, audio, or a video without PyAV."""


class NoDataError(PrefectCvatError, LookupError):
    """The task has no images yet."""


class MediaError(PrefectCvatError, ValueError):
    """A chunk or a frame cannot be read; the message names it."""


class UploadError(PrefectCvatError, RuntimeError):
    """The server stored something else than what was sent to it."""


class JobBusyError(PrefectCvatError, RuntimeError):
    """Others write to a job so often that nothing can be removed from it safely."""


class JobsChangedError(PrefectCvatError, RuntimeError):
    """The jobs of a task are not the same as when the run began. What the run has written stays."""


class IncompleteRunError(PrefectCvatError, RuntimeError):
    """A run has ended without doing all of its work; running it again completes it.

    Attributes:
        report: What the run has done, a `RunReport`.
    """

    def __init__(self, message: str, report: RunReport) -> None:
        super().__init__(message)
        self.report = report


class RunInProgressError(PrefectCvatError, RuntimeError):
    """Another run is annotating the task. Two at a time would double the annotations."""


class NothingToEvaluateError(PrefectCvatError, LookupError):
    """There is nothing to evaluate, or no ground truth."""


class NothingToExportError(PrefectCvatError, LookupError):
    """There are no frames to export, or no annotations on them."""


class NothingToLearnError(PrefectCvatError, LookupError):
    """Nobody has looked at a frame that a run has annotated."""


class RunsFailedError(PrefectCvatError, RuntimeError):
    """Some of the runs that a run has started, one for each task or shard, did not complete."""


class RunNotFoundError(PrefectCvatError, LookupError):
    """There is no record of such a run, so its annotations are unknown."""


class RunStoppedError(PrefectCvatError, RuntimeError):
    """A stage was not started because its run is stopping, after a failure or a cancellation."""


class StorageError(PrefectCvatError, OSError):
    """A file cannot be written."""


class MissingLibraryError(PrefectCvatError, ImportError):
    """A library of an extra of this package is not installed."""


class FunctionLoadError(PrefectCvatError, ImportError):
    """An auto-annotation function cannot be loaded."""


class DeviceError(PrefectCvatError, RuntimeError):
    """The GPU of a function has failed. What the run has written stays; running it again completes it."""


class BadFunctionError(PrefectCvatError, ValueError):
    """An auto-annotation function breaks its contract, or does not fit the task."""


def is_transient(error: BaseException) -> bool:
    """Whether a retry may help: the network or the server failed, not the request."""
    if isinstance(error, ApiError):
        return isinstance(error, ServerError | TooManyRequestsError)
    return isinstance(error, TransportError) and not isinstance(error, TlsError)
