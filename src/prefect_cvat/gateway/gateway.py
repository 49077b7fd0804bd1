"""The gateway: an HTTP server in a thread, by which CVAT calls functions."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from aiohttp import web
from pydantic import SecretStr

from prefect_cvat.gateway.configuration import GatewayConfiguration
from prefect_cvat.gateway.description_store import DescriptionStore
from prefect_cvat.gateway.functions import Functions
from prefect_cvat.gateway.http_server import HttpServer

__all__ = ["Gateway", "serve_gateway"]

logger = logging.getLogger(__name__)

SECRET = re.compile(r"[!-~]{16,}")
"""A secret that cannot be guessed, as CVAT's default `nuclio` could, and that HTTP headers can carry."""

BACKLOG = 128
"""The maximum number of connections that wait to be accepted."""


class Gateway:
    """Serves functions to CVAT's own pages, in a thread of this process.

    Args:
        configuration: Its options and functions.
        functions: Function objects by their names in CVAT, besides those of the configuration.
        secret: What CVAT sends as CVAT_NUCLIO_FUNCTION_NAMESPACE; None makes a random one.

    Attributes:
        secret: The secret.
        ended: Set when the gateway has ended.

    Raises:
        BadFunctionError: A function has no valid spec.
        ValueError: Two functions have the same name, or the secret is too short.

    Examples:
        >>> with Gateway(GatewayConfiguration(functions=[ServedFunction(function="tiled")])) as gateway:
        ...     gateway.url
    """

    def __init__(
        self,
        configuration: GatewayConfiguration | None = None,
        *,
        functions: Mapping[str, Any] | None = None,
        secret: SecretStr | None = None,
    ) -> None:
        self.secret = secret or SecretStr(secrets.token_hex(24))
        if not SECRET.fullmatch(self.secret.get_secret_value()):
            raise ValueError(
                "the secret of the gateway (PREFECT_CVAT_GATEWAY_SECRET) must be 16 or more letters, digits"
                " and signs without spaces; without one, the gateway makes one and prints it"
            )
        self.ended = threading.Event()
        self._configuration = configuration or GatewayConfiguration()
        self._made = dict(functions or {})
        self._port = self._configuration.port
        self._error: BaseException | None = None

    @property
    def port(self) -> int:
        """The port, once the gateway is started."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, once the gateway is started."""
        host = self._configuration.host
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def start(self) -> None:
        """Start to serve.

        Raises:
            OSError: The port is in use.
        """
        listener = self._listen()
        self._port = listener.getsockname()[1]
        try:
            self._functions = Functions(self._configuration, self._made, DescriptionStore(), port=self._port)
        except BaseException:
            listener.close()
            raise
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="gateway", daemon=True)
        self._thread.start()
        self._is_ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Take no more calls, let those in progress end, and close the functions."""
        with suppress(RuntimeError):  # it has ended already, by an error
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def reload(self, configuration: GatewayConfiguration) -> None:
        """Serve the functions of another configuration; its other options are those of the next start.

        Functions whose entry and code have not changed stay loaded, with the objects that they track.

        Raises:
            ValueError: Two functions have the same name; nothing is changed.
        """
        self._functions.configure(configuration)

    def wait_until_described(self, timeout: float) -> bool:
        """Wait until each function is listed or known to be invalid; False if that takes longer.

        Args:
            timeout: Seconds.
        """
        end = time.monotonic() + timeout
        while not self._functions.are_described:
            if time.monotonic() > end or self.ended.wait(0.05):
                return self._functions.are_described
        return True

    def __enter__(self) -> Self:
        """Start the gateway."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the gateway."""
        self.stop()

    def _listen(self) -> socket.socket:
        host = self._configuration.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio disables Nagle's algorithm only if the protocol is given
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, self._port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except BaseException as error:  # raised by `start` or `stop`
            self._error = error
        finally:
            listener.close()
            self._functions.close()
            self._is_ready.set()
            self.ended.set()

    async def _serve(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = HttpServer(self._functions, self._configuration, self.secret)
        runner = web.AppRunner(
            server.app(),
            access_log=None,
            handler_cancellation=True,  # a call whose caller has gone is not started
            shutdown_timeout=self._configuration.grace_seconds,
        )
        await runner.setup()
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        self._is_ready.set()
        await self._stopping.wait()
        await runner.cleanup()
        server.close()


def serve_gateway(
    gateway: Gateway,
    reread: Callable[[], GatewayConfiguration] | None = None,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Run a gateway until SIGTERM or SIGINT. Prints `ready http://HOST:PORT` on a line of its own.

    Args:
        gateway: The gateway.
        reread: Reads its configuration again, on SIGHUP. If it is invalid, the old one stays.
        started: Called when it has started, before `ready` is printed.

    Raises:
        OSError: The port is in use.
    """
    wakes = threading.Event()
    is_ending = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_ending
        is_ending = True
        wakes.set()

    def reload(_number: int, _frame: FrameType | None) -> None:
        wakes.set()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end}
    if hasattr(signal, "SIGHUP"):  # not on Windows
        handlers[signal.SIGHUP] = reload
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with gateway:
            started()
            print(f"ready {gateway.url}", flush=True)
            while not is_ending and not gateway.ended.is_set():
                if not wakes.wait(1.0):
                    continue
                wakes.clear()
                if not is_ending and reread is not None:
                    _reload(gateway, reread)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reload(gateway: Gateway, reread: Callable[[], GatewayConfiguration]) -> None:
    try:
        gateway.reload(reread())
    except ValueError as error:
        logger.error("the configuration stays as it was: %s", error)  # noqa: TRY400 (it has no bug of ours)
    else:
        logger.info("the configuration is read again")
