"""The client of a CVAT server, with the requests that auto-annotation needs."""

from __future__ import annotations

from prefect_cvat.cvat.annotation_requests import AnnotationRequests
from prefect_cvat.cvat.chunk_requests import ChunkRequests
from prefect_cvat.cvat.task_requests import TaskRequests
from prefect_cvat.cvat.task_upload import TaskUpload

__all__ = ["Client"]


class Client(TaskRequests, ChunkRequests, AnnotationRequests, TaskUpload):
    """A CVAT server. May be used from several threads.

    Example:
        ```python
        with Client(url="cvat.example.com") as client:
            client.login(("username", "password"))
            print(client.task(123).name)
        ```

    Args:
        url: The server's address. The default scheme is HTTPS, and HTTP on this machine.
        access_token: A personal access token, instead of `login`.
        organization: The short name (slug) of the organization to work in; `""` for the personal workspace,
            None for everything that the user may see. Tasks of other organizations are refused.
        verify: Whether to verify the TLS certificate, or the path of a CA bundle.
        timeout: Seconds to wait for a connection, and for the next bytes of a response.
        retry: When to send requests again, see `RetryPolicy`. The first request of a process to a server
            fails after ten seconds.
        assume_reachable: Do not check first whether the server can be reached, for example because another
            process has just done so.
        on_retry: Called with a line of text before a request is sent again; by default the line is logged as
            a warning.

    Raises:
        ApiError: Raised by all methods when the server refuses a request.
        TransportError: Raised by all methods when no response arrives.
        InvalidResponseError: Raised by all methods when a response is not what CVAT sends.
    """
