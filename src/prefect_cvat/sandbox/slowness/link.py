"""The ASGI middleware that simulates the link between client and server."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_cvat.sandbox.breakable_connection import connection_of
from prefect_cvat.sandbox.slowness.slow_server import SlowServer

_PIECES_PER_SECOND = 100
_SMALLEST_PIECE = 4096


class SlowLink:
    """Delays requests to /api/ and their responses, including injected faults, by round trip and bandwidth.

    Args:
        app: The application.
        server: Calculates the delays.
    """

    def __init__(self, app: ASGIApp, server: SlowServer) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan of the server."""
        slowness = self._server.slowness
        if scope["type"] != "http" or not scope["path"].startswith("/api/") or not slowness.is_slow:
            await self._app(scope, receive, send)
            return
        connection = connection_of(scope)
        one_way = slowness.round_trip_seconds / 2
        rate = slowness.bytes_per_second

        async def slow_receive() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                await self._server.receive_from_client(len(message.get("body", b"")))
            return message

        async def slow_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._server.wait(one_way)
            body: bytes = message.get("body", b"")
            if rate is None or not body:
                await send(message)
                return
            size = max(_SMALLEST_PIECE, int(rate / _PIECES_PER_SECOND))
            for start in range(0, len(body), size):
                piece = body[start : start + size]
                if not connection.closed:
                    await self._server.send_to_client(len(piece))
                is_last = start + size >= len(body)
                more = not is_last or message.get("more_body", False)
                await send({**message, "body": piece, "more_body": more})

        await self._server.wait(one_way)
        await self._app(scope, slow_receive, slow_send)
