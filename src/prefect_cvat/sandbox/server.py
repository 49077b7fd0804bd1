"""Run the sandbox in a thread of this process (`Sandbox`) or in the foreground (`serve`)."""

import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import uvicorn

from prefect_cvat.sandbox.app import close_state, create_app, open_state
from prefect_cvat.sandbox.breakable_connection import BreakableProtocol
from prefect_cvat.sandbox.control import ControlMiddleware
from prefect_cvat.sandbox.faults.active_faults import Faults
from prefect_cvat.sandbox.faults.middleware import FaultMiddleware
from prefect_cvat.sandbox.loopback import is_loopback
from prefect_cvat.sandbox.nuclio import Nuclio
from prefect_cvat.sandbox.request_counts import CountingMiddleware, RequestCounts
from prefect_cvat.sandbox.slowness.figures import Slowness
from prefect_cvat.sandbox.slowness.link import SlowLink
from prefect_cvat.sandbox.slowness.slow_server import SlowServer
from prefect_cvat.sandbox.webhook_delivery.delivery_queue import RETRY_SECONDS

_WARNING = """
*** THIS IS NOT CVAT ***
This is the prefect-cvat sandbox: an embedded server with a part of CVAT's API,
for demos and tests on this machine. Do not store anything in it that you need.
"""
_FAST = Slowness()


class Sandbox:
    """A CVAT-compatible server in a thread of this process.

    Args:
        data: Folder for the database and the media; None for a temporary folder that is deleted at the end.
        host: A loopback address.
        port: A port; 0 picks a free one.
        user: Name of the admin.
        password: Password of the admin.
        webhook_retry_seconds: Seconds to wait before the second attempt of a delivery, the third, and so
            on. The default is CVAT's: 5 seconds, then longer, up to one day.
        slowness: How slow it is. May be changed at any time.
        nuclio: Where annotators' functions are called, as CVAT calls Nuclio; None for nowhere.

    Attributes:
        faults: The faults to inject. Rules may be set before `start` and stay after `stop`.
        requests: The number of requests to the API so far.

    Raises:
        ValueError: The host is not a loopback address. The sandbox must not be reachable from a network.

    Examples:
        >>> with Sandbox() as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        data: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        user: str = "admin",
        password: str = "admin",  # noqa: S107 - holds no secrets
        webhook_retry_seconds: Sequence[float] = RETRY_SECONDS,
        slowness: Slowness = _FAST,
        nuclio: Nuclio | None = None,
    ) -> None:
        _check_loopback(host)
        self.user = user
        self.password = password
        self.faults = Faults()
        self.requests = RequestCounts()
        self._slow = SlowServer(slowness)
        self._nuclio = nuclio
        self._data = None if data is None else Path(data)
        self._host = host
        self._port = port
        self._webhook_retry_seconds = webhook_retry_seconds
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The URL of the server, for example `http://127.0.0.1:8080`.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        if self._thread is None:
            raise RuntimeError("the sandbox is not running: call start(), or use it as a context manager")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def slowness(self) -> Slowness:
        """How slow it is."""
        return self._slow.slowness

    @slowness.setter
    def slowness(self, slowness: Slowness) -> None:
        self._slow.set(slowness)

    def forget_chunks(self) -> None:
        """Delete all cached chunks, so that each is made again when it is requested."""
        self._state.forget_chunks()

    def start(self) -> None:
        """Start the server. Returns once it accepts requests."""
        if self._thread is not None:
            raise RuntimeError("the sandbox is already running")
        listener = _listen(self._host, self._port)
        try:
            self._slow = SlowServer(self.slowness)
            self._state = open_state(
                self._folder(),
                self.user,
                self.password,
                self._webhook_retry_seconds,
                self._slow,
                self._nuclio,
            )
        except BaseException:
            listener.close()
            self._clean_up()
            raise
        self._port = listener.getsockname()[1]
        self._app = FaultMiddleware(create_app(self._state), self._state, self.faults)
        api = CountingMiddleware(SlowLink(self._app, self._slow), self.requests)
        config = uvicorn.Config(
            ControlMiddleware(api, self._state, self.faults, self.requests),
            http=BreakableProtocol,
            # uvloop's transports hide the socket, which a TCP reset needs.
            loop="asyncio",
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )
        self._thread.start()
        # The socket already listens: a request that is sent now waits for the event loop and is not refused.

    def stop(self) -> None:
        """Finish running and delayed requests, and free the port.

        Webhook deliveries that are still queued are sent when a sandbox starts on the same folder.
        """
        if self._thread is None:
            return
        self._app.end()
        self._slow.end()
        self._state.sender.close()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        close_state(self._state)
        self._clean_up()
        self._thread = None

    def _folder(self) -> Path:
        if self._data is not None:
            return self._data
        self._temporary = tempfile.TemporaryDirectory(prefix="prefect-cvat-sandbox-")
        return Path(self._temporary.name)

    def _clean_up(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()


def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    data: str | Path | None = None,
    user: str = "admin",
    password: str = "admin",  # noqa: S107 - holds no secrets
    slowness: Slowness = _FAST,
    nuclio: Nuclio | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Prints `ready http://HOST:PORT` on a line of its own once the server accepts requests.

    Args:
        host: A loopback address.
        port: A port; 0 picks a free one.
        data: Folder for the database and the media; None for a temporary folder that is deleted at the end.
        user: Name of the admin.
        password: Password of the admin.
        slowness: How slow it is.
        nuclio: Where annotators' functions are called; None for nowhere.

    Raises:
        ValueError: The host is not a loopback address.
        OSError: The port is in use.
    """
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Sandbox(data, host, port, user, password, slowness=slowness, nuclio=nuclio) as server:
            print(_WARNING, file=sys.stderr, flush=True)
            print(f"ready {server.url}", flush=True)
            ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the protocol is named; with it responses take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    return listener


def _check_loopback(host: str) -> None:
    if not is_loopback(host):
        raise ValueError(
            f"the sandbox serves this machine only: {host!r} is not a loopback address such as 127.0.0.1"
        )
