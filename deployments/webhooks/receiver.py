"""The receiver of CVAT's webhooks: checks them, keeps them, and has them emitted as events of Prefect.

CVAT 2.73 waits 3 s for a connection and 10 s for an answer, and sends again what was answered with 408, 429
or 5xx. So a delivery is written to a file and answered; the Prefect server hears of it afterwards.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import hmac
import logging
import signal
import socket
import threading
from collections.abc import Collection
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, cast

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.webhooks.connections import Connections
from prefect_cvat.deployments.webhooks.deliveries import MAX_PENDING, Deliveries, QueueFullError
from prefect_cvat.deployments.webhooks.event_relay import CVAT_PATIENCE, EventRelay
from prefect_cvat.deployments.webhooks.parse_webhook import Ignored, Ping, body_digest, read_webhook
from prefect_cvat.exceptions import InvalidResponseError, PrefectCvatError, StorageError
from prefect_cvat.inference.detection_cache import cache_folder
from prefect_cvat.settings import Settings

__all__ = ["WebhookReceiver", "serve"]

logger = logging.getLogger(__name__)

READ_SECONDS = 10.0
"""How long a body may take to come; CVAT itself gives up after this time."""

BACKLOG = 128
"""How many connections may wait to be accepted."""

LONGEST_DELAY = 300.0


class WebhookReceiver:
    """A receiver in a thread of this process.

    Args:
        credentials: How to log in to the CVAT server whose webhooks come.
        secret: What they are signed with.
        host: The address to listen on.
        port: A port, or 0 for any that is free.
        ignore_senders: Names of users whose updates are ignored, besides that of the credentials.
        folder: Where deliveries are kept; by default `webhooks` in the folder of kept detections.
        max_pending: How many events may wait for the Prefect server before deliveries are put off.

    Attributes:
        ended: Set when it serves no more.

    Raises:
        StorageError: The folder cannot be written.

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
        ignore_senders: Collection[str] = (),
        folder: Path | None = None,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.ended = threading.Event()
        self._credentials = credentials
        self._secret = secret
        self._host = host
        self._port = port
        self._senders = set(ignore_senders)
        self._max_bytes = Settings().webhook_max_bytes
        path = (folder or cache_folder() / "webhooks") / "webhooks.sqlite3"
        self._deliveries = Deliveries(path, max_pending=max_pending)
        self._error: BaseException | None = None

    @property
    def url(self) -> str:
        """Its address, once it has been started; webhooks go to `/webhooks` there."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> None:
        """Serve from now on.

        Raises:
            OSError: The port is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # only where the protocol is named does asyncio turn Nagle's algorithm off
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
        routes = [
            Route("/webhooks", self._receive, methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
        ]
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=routes),
                loop="asyncio",
                http=cast("type[asyncio.Protocol]", Connections().protocol()),
                ws="none",  # a connection that changes its protocol would not be watched any more
                backlog=BACKLOG,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        # Prefect's settings may be those of a context
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered. What has not been emitted yet is emitted after the next start."""
        self._server.should_exit = True
        self._thread.join()
        self._deliveries.close()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # of a thread: whoever stops it gets it
            self._error = error
        finally:
            self._listener.close()  # else CVAT would wait for an answer
            self.ended.set()

    async def _serve(self) -> None:
        self._relay = EventRelay(self._deliveries, self._credentials)
        async with asyncio.TaskGroup() as group:  # if emitting breaks down, so does receiving, and it shows
            others = [group.create_task(self._relay.run())]
            if not await self._learn_own_name():
                others.append(group.create_task(self._keep_asking_for_own_name()))
            await self._server.serve(sockets=[self._listener])
            for other in others:
                other.cancel()

    # --- requests ---

    async def _health(self, _request: Request) -> Response:
        try:
            pending = await asyncio.to_thread(self._deliveries.count_pending)
        except StorageError:
            return JSONResponse({"status": "cannot keep deliveries"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse({"status": "ok", "pending": pending})

    async def _receive(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await self._read(request)
        except TimeoutError:
            return _answer(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time")
        except ClientDisconnect:
            return _answer(HTTPStatus.BAD_REQUEST, "the body did not come whole")
        if body is None:
            logger.warning("a webhook of more than %d bytes has been refused", self._max_bytes)
            return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._max_bytes} bytes")
        if not self._is_signed(body, request.headers.get("X-Signature-256")):
            logger.warning("a webhook without a good signature has been refused")
            return _answer(HTTPStatus.UNAUTHORIZED, "the signature is missing, or not made with our secret")
        return await self._accept(body)

    async def _read(self, request: Request) -> bytes | None:
        """The body, or None if it is too large."""
        if int(request.headers.get("Content-Length", 0)) > self._max_bytes:
            return None
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_bytes:
                return None
        return bytes(body)

    def _is_signed(self, body: bytes, signature: str | None) -> bool:
        expected = hmac.new(self._secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"sha256={expected}".encode(), (signature or "").encode())

    async def _accept(self, body: bytes) -> Response:
        received = datetime.now(UTC)
        try:
            meaning = read_webhook(
                body, server=self._credentials.url, senders=self._senders, received=received
            )
        except InvalidResponseError as error:
            logger.warning("a webhook has been refused: %s", error)
            return _answer(HTTPStatus.BAD_REQUEST, str(error))
        if isinstance(meaning, Ignored):
            logger.info("a webhook has been ignored: %s", meaning.reason)
            return Response(status_code=HTTPStatus.NO_CONTENT)
        if isinstance(meaning, Ping):
            logger.info("webhook %s is set up: its ping has come, well signed", meaning.webhook_id)
            return _answer(HTTPStatus.OK, "ready")
        try:
            is_new = await asyncio.to_thread(self._deliveries.add, body_digest(body), meaning)
        except QueueFullError as error:
            logger.error("a webhook has been put off: %s", error)  # noqa: TRY400
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except StorageError as error:
            logger.error("a webhook has been put off: %s", error)  # noqa: TRY400
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "it cannot be kept here now")
        if not is_new:
            logger.info("%s of %s has come again", meaning.event, meaning.resource.id)
            return _answer(HTTPStatus.OK, "this one is known already")
        self._relay.wake()
        return _answer(HTTPStatus.ACCEPTED, meaning.event)

    # --- whose updates are our own ---

    async def _learn_own_name(self) -> bool:
        try:
            name = await asyncio.to_thread(self._ask_for_own_name)
        except PrefectCvatError as error:
            logger.warning(
                "CVAT does not say who we are, so that our own updates cannot be told from others' (%s)",
                error,
            )
            return False
        self._senders.add(name)
        logger.info("updates by %s are ignored", ", ".join(sorted(self._senders)))
        return True

    async def _keep_asking_for_own_name(self) -> None:
        delay = 1.0
        while True:
            await asyncio.sleep(delay)
            if await self._learn_own_name():
                return
            delay = min(2 * delay, LONGEST_DELAY)

    def _ask_for_own_name(self) -> str:
        with self._credentials.get_client(**CVAT_PATIENCE) as client:
            return client.user().username


def serve(receiver: WebhookReceiver) -> None:
    """Serve until SIGTERM or SIGINT.

    Prints `ready http://HOST:PORT` on a line of its own once deliveries are taken.

    Raises:
        OSError: The port is taken.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        receiver.ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with receiver:
            print(f"ready {receiver.url}", flush=True)
            receiver.ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _answer(status: HTTPStatus, text: str) -> Response:
    """An answer; CVAT shows its text in the list of a webhook's deliveries."""
    return PlainTextResponse(text, status_code=status)
