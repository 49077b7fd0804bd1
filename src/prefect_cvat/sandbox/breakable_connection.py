"""uvicorn's HTTP/1.1 protocol, extended so that the application can reset its own connection.

ASGI has no message for that, and uvicorn turns an exception into a 500. So the protocol puts a handle on its
transport into the state of every scope.
"""

import asyncio
import socket
import struct

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEY = "connection"
# SO_LINGER on, with 0 seconds: closing then drops unsent data and sends RST instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


class Connection:
    """The connection of a request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def closed(self) -> bool:
        """Whether either side has closed it."""
        return self._transport.is_closing()

    def reset(self) -> None:
        """Close it with a TCP reset. Unsent data is dropped."""
        if not self.closed:
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
            )
            self._transport.abort()

    def close(self) -> None:
        """Close it after all written data is sent."""
        self._transport.close()


class BreakableProtocol(H11Protocol):
    """HTTP/1.1 with a `Connection` in every scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a new connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _KEY: Connection(transport)}


def connection_of(scope: Scope) -> Connection:
    """The connection of a request that came through `BreakableProtocol`."""
    connection: Connection = scope["state"][_KEY]
    return connection
