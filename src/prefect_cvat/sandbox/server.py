"""The sandbox as a server: in a thread of this process, or as a process of its own."""

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
from prefect_cvat.sandbox.faults.active_faults import Faults
from prefect_cvat.sandbox.faults.breakable_connection import BreakableProtocol
from prefect_cvat.sandbox.faults.middleware import FaultMiddleware
from prefect_cvat.sandbox.loopback import is_loopback
from prefect_cvat.sandbox.webhook_delivery.delivery_queue import RETRY_SECONDS

_WARNING = """
*** THIS IS NOT CVAT ***
It is the prefect-cvat sandbox: an embedded server that speaks a part of CVAT's API,
for tries and tests on this machine. Do not keep anything in it that you need.
"""


class Sandbox:
    """A CVAT-compatible server in a thread of this process.

    Args:
        data: The folder of its database and media; None for a temporary one that goes with it.
        host: A loopback address.
        port: A port, or 0 for any that is free.
        user: Its administrator.
        password: The administrator's password.
        webhook_retry_seconds: How long to wait before what a webhook's receiver did not take is sent to it
            again, for the second attempt, the third, and so on. By default as CVAT waits: 5 seconds, then
            longer, up to days.

    Attributes:
        faults: What is to go wrong. Rules may be set before the start, and outlive a stop.

    Raises:
        ValueError: If the host is not a loopback address: the sandbox must not be reached from outside.

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
        password: str = "admin",  # noqa: S107 - a server for tries
        webhook_retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        _check_loopback(host)
        self.user = user
        self.password = password
        self.faults = Faults()
        self._data = None if data is None else Path(data)
        self._host = host
        self._port = port
        self._webhook_retry_seconds = webhook_retry_seconds
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its address, once it serves."""
        if self._thread is None:
            raise RuntimeError("the sandbox has not been started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> None:
        """Serves from now on. Returns when requests are taken."""
        if self._thread is not None:
            raise RuntimeError("the sandbox runs already")
        listener = _listen(self._host, self._port)
        try:
            self._state = open_state(self._folder(), self.user, self.password, self._webhook_retry_seconds)
        except BaseException:
            listener.close()
            self._clean_up()
            raise
        self._port = listener.getsockname()[1]
        self._app = FaultMiddleware(create_app(self._state), self._state, self.faults)
        config = uvicorn.Config(
            self._app,
            http=BreakableProtocol,
            # Its transports give the socket itself, on which a reset depends.
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
        # The socket listens already: a request sent now waits for the loop and is not refused.

    def stop(self) -> None:
        """Finishes the requests that run, and those that a fault has put off, and frees the port.

        What is not sent to webhooks yet is sent when a sandbox is started on the same folder.
        """
        if self._thread is None:
            return
        self._app.end()
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
        """Starts it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it."""
        self.stop()


def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    data: str | Path | None = None,
    user: str = "admin",
    password: str = "admin",  # noqa: S107 - a server for tries
) -> None:
    """Serves until SIGTERM or SIGINT.

    Prints `ready http://HOST:PORT` on a line of its own once requests are taken.

    Args:
        host: A loopback address.
        port: A port, or 0 for any that is free.
        data: The folder of its database and media; None for a temporary one that goes with it.
        user: Its administrator.
        password: The administrator's password.

    Raises:
        ValueError: If the host is not a loopback address.
        OSError: If the port is taken.
    """
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Sandbox(data, host, port, user, password) as server:
            print(_WARNING, file=sys.stderr, flush=True)
            print(f"ready {server.url}", flush=True)
            ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio turn Nagle's algorithm off, with which answers take 40 ms.
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
            f"the sandbox serves this machine only: {host!r} is no loopback address like 127.0.0.1"
        )
