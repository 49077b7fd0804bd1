"""uvicorn's HTTP/1.1 protocol, with a handle by which the application can break its own connection.

ASGI has no message for it: an application can only answer, and uvicorn makes a 500 of an exception. So the
protocol puts a handle on its transport into the state of every scope.
"""

import asyncio
import socket
import struct

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEY = "connection"
# Lingering on, for no time: closing then drops what is unsent and sends RST in place of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


class Connection:
    """The connection on which a request came."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def closed(self) -> bool:
        """Whether either side has ended it."""
        return self._transport.is_closing()

    def reset(self) -> None:
        """Ends it with a TCP reset; what has not been sent yet is dropped."""
        if not self.closed:
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
            )
            self._transport.abort()

    def close(self) -> None:
        """Ends it once all is sent that was written."""
        self._transport.close()


class BreakableProtocol(H11Protocol):
    """Serves HTTP/1.1 with a `Connection` in every scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a new connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _KEY: Connection(transport)}


def connection_of(scope: Scope) -> Connection:
    """The connection of a request that `BreakableProtocol` took."""
    connection: Connection = scope["state"][_KEY]
    return connection
