"""The webhook receiver: an HTTP server in a thread, with a relay of stored events to the Prefect server.

CVAT 2.73 waits 3 s for a connection and 10 s for an answer, and repeats a webhook that was answered with 408,
429 or 5xx. So an event is stored in a file and answered at once; the Prefect server gets it afterwards.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import socket
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, cast

import uvicorn
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.webhooks.connections import Connections
from prefect_cvat.deployments.webhooks.endpoint import WebhookEndpoint
from prefect_cvat.deployments.webhooks.event_relay import CVAT_TIMEOUTS, EventRelay
from prefect_cvat.deployments.webhooks.webhook_store import MAX_PENDING, Deliveries
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.inference.detection_cache import cache_folder
from prefect_cvat.metrics import serve_metrics
from prefect_cvat.settings import Settings

__all__ = ["WebhookReceiver", "serve_webhooks"]

logger = logging.getLogger(__name__)

BACKLOG = 128
"""The maximum number of connections that wait to be accepted."""

MAX_DELAY = 300.0
"""The longest time in seconds between two attempts to read the own user name from CVAT."""


class WebhookReceiver:
    """Receives webhooks in a thread of this process, at `/webhooks` of its URL.

    Args:
        credentials: The credentials for the CVAT server that sends the webhooks.
        secret: The secret with which CVAT signs them.
        host: The address to listen on.
        port: The port, or 0 for a free one.
        ignored_users: The names of users whose updates are ignored, besides the user of the credentials.
        folder: The folder of stored deliveries; by default `webhooks` in the cache folder.
        max_pending: The number of events that may wait for the Prefect server. Further webhooks are answered
            with 503.

    Attributes:
        ended: Set when the receiver has ended.

    Raises:
        StorageError: The folder is not writable.

    Examples:
        >>> with WebhookReceiver(credentials, secret) as receiver:
        ...     print(f"{receiver.url}/webhooks")
    """

    def __init__(
        self,
        credentials: CvatCredentials,
        secret: SecretStr,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ignored_users: Collection[str] = (),
        folder: Path | None = None,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.ended = threading.Event()
        self._credentials = credentials
        self._host = host
        self._port = port
        self._ignored_users = set(ignored_users)
        path = (folder or cache_folder() / "webhooks") / "webhooks.sqlite3"
        self._deliveries = Deliveries(path, max_pending=max_pending)
        self._relay = EventRelay(self._deliveries, credentials)
        self._endpoint = WebhookEndpoint(
            server=credentials.url,
            secret=secret,
            ignored_users=self._ignored_users,
            deliveries=self._deliveries,
            max_bytes=Settings().webhook_max_bytes,
            on_stored=self._relay.wake,
        )
        self._error: BaseException | None = None

    @property
    def url(self) -> str:
        """The base URL, once the receiver is started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def waiting(self) -> tuple[str, Callable[[], float]]:
        """The gauge of the webhooks whose events wait for the Prefect server."""
        return "Webhooks whose events wait for the Prefect server.", self._deliveries.count_pending

    def start(self) -> None:
        """Start to receive.

        Raises:
            OSError: The port is in use.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio disables Nagle's algorithm only if the protocol is given
        self._listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((self._host, self._port))
            self._listener.listen(BACKLOG)
        except OSError:
            self._listener.close()
            self._deliveries.close()
            raise
        self._port = self._listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._endpoint.app(),
                loop="asyncio",
                http=cast("type[asyncio.Protocol]", Connections().protocol()),
                ws="none",  # `Connections` does not see websockets
                backlog=BACKLOG,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        # Prefect's settings may be set in a context variable
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer the requests in progress, and end. Events that wait are sent after the next start."""
        self._server.should_exit = True
        self._thread.join()
        self._deliveries.close()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        """Start the receiver."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the receiver."""
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # raised by `stop`
            self._error = error
        finally:
            self._listener.close()  # otherwise CVAT would wait for an answer
            self.ended.set()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:  # an error of the relay ends the server, too
            others = [group.create_task(self._relay.run())]
            if not await self._ignore_own_user():
                others.append(group.create_task(self._keep_trying_to_ignore_own_user()))
            await self._server.serve(sockets=[self._listener])
            for other in others:
                other.cancel()

    # --- the user of the credentials: a run must not trigger another run by what it writes ---

    async def _ignore_own_user(self) -> bool:
        """Ignore updates by the user of the credentials; False if CVAT does not answer."""
        try:
            name = await asyncio.to_thread(self._own_user)
        except PrefectCvatError as error:
            logger.warning(
                "the user of the credentials is unknown, so updates of runs are not ignored yet (%s)",
                error,
            )
            return False
        self._ignored_users.add(name)
        logger.info("updates by %s are ignored", ", ".join(sorted(self._ignored_users)))
        return True

    async def _keep_trying_to_ignore_own_user(self) -> None:
        delay = 1.0
        while True:
            await asyncio.sleep(delay)
            if await self._ignore_own_user():
                return
            delay = min(2 * delay, MAX_DELAY)

    def _own_user(self) -> str:
        with self._credentials.get_client(**CVAT_TIMEOUTS) as client:
            return client.user().username


def serve_webhooks(receiver: WebhookReceiver) -> None:
    """Run a receiver until SIGTERM or SIGINT. Prints `ready http://HOST:PORT` on a line of its own.

    Raises:
        OSError: The port is in use.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        receiver.ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with receiver:
            serve_metrics({"prefect_cvat_webhooks_waiting": receiver.waiting})
            print(f"ready {receiver.url}", flush=True)
            receiver.ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
