"""The HTTP routes of the webhook receiver: checks each webhook, stores its event, and answers CVAT."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from http import HTTPStatus

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_cvat.deployments.webhooks.webhook_store import Deliveries, QueueFullError
from prefect_cvat.deployments.webhooks.webhook_to_event_or_ignored import (
    Ignored,
    Ping,
    body_digest,
    read_webhook,
)
from prefect_cvat.exceptions import InvalidResponseError, StorageError

__all__ = ["WebhookEndpoint"]

logger = logging.getLogger(__name__)

READ_SECONDS = 10.0
"""The time within which a body must arrive; CVAT itself gives up after 10 s."""


class WebhookEndpoint:
    """Answers `POST /webhooks` and `GET /health`.

    Args:
        server: The URL of the CVAT server whose webhooks are accepted.
        secret: The secret with which CVAT signs them.
        ignored_users: The names of users whose updates are ignored. Names may be added later.
        deliveries: Where accepted events are stored.
        max_bytes: The maximum size of a body.
        on_stored: Called when a new event was stored.
    """

    def __init__(
        self,
        *,
        server: str,
        secret: SecretStr,
        ignored_users: Collection[str],
        deliveries: Deliveries,
        max_bytes: int,
        on_stored: Callable[[], None],
    ) -> None:
        self._server = server
        self._secret = secret
        self._ignored_users = ignored_users
        self._deliveries = deliveries
        self._max_bytes = max_bytes
        self._on_stored = on_stored

    def app(self) -> Starlette:
        """The ASGI application with both routes."""
        return Starlette(
            routes=[
                Route("/webhooks", self._receive, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
            ]
        )

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
            return _answer(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time")
        except ClientDisconnect:
            return _answer(HTTPStatus.BAD_REQUEST, "the body is incomplete")
        if body is None:
            logger.warning("refused a webhook of more than %d bytes", self._max_bytes)
            return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._max_bytes} bytes")
        if not self._is_signed(body, request.headers.get("X-Signature-256")):
            logger.warning("refused a webhook without a valid signature")
            return _answer(
                HTTPStatus.UNAUTHORIZED, "the signature is missing, or was made with another secret"
            )
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
        try:
            parsed = read_webhook(
                body, server=self._server, ignored_users=self._ignored_users, received=datetime.now(UTC)
            )
        except InvalidResponseError as error:
            logger.warning("refused a webhook: %s", error)
            return _answer(HTTPStatus.BAD_REQUEST, str(error))
        if isinstance(parsed, Ignored):
            logger.info("ignored a webhook: %s", parsed.reason)
            return Response(status_code=HTTPStatus.NO_CONTENT)
        if isinstance(parsed, Ping):
            logger.info("received the ping of webhook %s, with a valid signature", parsed.webhook_id)
            return _answer(HTTPStatus.OK, "ready")
        try:
            is_new = await asyncio.to_thread(self._deliveries.add, body_digest(body), parsed)
        except QueueFullError as error:
            logger.error("refused a webhook for now: %s", error)  # noqa: TRY400
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except StorageError as error:
            logger.error("refused a webhook for now: %s", error)  # noqa: TRY400
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "it cannot be stored now")
        if not is_new:
            logger.info("received %s of %s again", parsed.event, parsed.resource.id)
            return _answer(HTTPStatus.OK, "received before")
        self._on_stored()
        return _answer(HTTPStatus.ACCEPTED, parsed.event)


def _answer(status: HTTPStatus, text: str) -> Response:
    """An answer with a text, which CVAT shows in the list of a webhook's deliveries."""
    return PlainTextResponse(text, status_code=status)
