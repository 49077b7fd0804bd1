"""Connections to the receiver of webhooks, of which strangers may open as many as they like.

Nobody is known before a whole request has come and its signature was checked, and CVAT may share its address
with others, behind a proxy. So nobody is shut out: where there are too many connections, of one address or of
all, the one is closed that has been waiting for the rest of a request for longest. A webhook comes whole
within milliseconds, and is not waiting any more when its turn would come.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connections"]

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 400
"""How many connections there are at a time, at the most."""

HEAD_SECONDS = 5.0
"""How long a connection may be open, and may wait after an answer, before the head of a request has come."""

MAX_HELD_BYTES = 32 * 2**20
"""How many bytes of requests that have not come whole are kept, of all connections together."""

SECONDS_BETWEEN_WORDS = 60.0
"""At most one warning about closed connections in so many seconds."""


class Connections:
    """The connections of a server.

    There are at most `MAX_CONNECTIONS`, and no more than half as many as the files that this process may
    open. At most half of them are from one address (with IPv6, from one /64 network).
    """

    def __init__(self) -> None:
        self._most = min(MAX_CONNECTIONS, _raise_file_limit() // 2)
        self._open: dict[_Connection, None] = {}  # the one that was made or answered first comes first
        self._of_address: Counter[str] = Counter()
        self._held_bytes = 0
        self._closed = 0
        self._next_word = 0.0

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What uvicorn is to make for each connection."""
        return partial(_Connection, self)

    def opened(self, connection: _Connection) -> None:
        """A connection was made; close others if there are too many now."""
        self._open[connection] = None
        self._of_address[connection.address] += 1
        if self._of_address[connection.address] > self._most // 2:
            self._close_oldest(connection.address)
        elif len(self._open) > self._most:
            self._close_oldest()

    def answered(self, connection: _Connection) -> None:
        """A request was answered: its connection waits for the next one."""
        del self._open[connection]
        self._open[connection] = None
        self._hold(connection, -connection.held_bytes)

    def received(self, connection: _Connection, size: int) -> None:
        """So many bytes have come; close others if all of them hold too much now."""
        self._hold(connection, size)
        while self._held_bytes > MAX_HELD_BYTES and self._close_oldest():
            pass

    def closed(self, connection: _Connection) -> None:
        """A connection is gone, or about to go."""
        if connection in self._open:
            del self._open[connection]
            self._hold(connection, -connection.held_bytes)
            self._of_address[connection.address] -= 1
            if not self._of_address[connection.address]:
                del self._of_address[connection.address]

    def _hold(self, connection: _Connection, size: int) -> None:
        connection.held_bytes += size
        self._held_bytes += size

    def _close_oldest(self, address: str | None = None) -> bool:
        """Close the connection that has waited for longest; False if none waits."""
        for connection in self._open:
            if connection.is_waiting and address in (None, connection.address):
                self.closed(connection)
                connection.transport.abort()
                self._say_so()
                return True
        return False

    def _say_so(self) -> None:
        self._closed += 1
        if time.monotonic() >= self._next_word:
            self._next_word = time.monotonic() + SECONDS_BETWEEN_WORDS
            logger.warning(
                "connections without a whole request are closed to make room for others: %d so far",
                self._closed,
            )


class _Connection(H11Protocol):
    """A connection that is closed when no request comes in time.

    Attributes:
        address: Where it comes from; of IPv6 the network.
        held_bytes: How much has come of the request that it waits for.
    """

    def __init__(self, connections: Connections, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.address = ""
        self.held_bytes = 0
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a request, or for the rest of one; not while a whole one is being answered."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = _network(self.client[0]) if self.client else ""
        self._wait_for_head()
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        self._connections.received(self, len(data))
        if not self.transport.is_closing():
            super().data_received(data)

    def on_response_complete(self) -> None:
        if not self.transport.is_closing():
            self._connections.answered(self)
            self._wait_for_head()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        """Set the deadline. Unlike that of uvicorn it does not begin anew with each byte."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._end_waiting)

    def _end_waiting(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def _raise_file_limit() -> int:
    """Let this process open as many files and connections as it may; return how many that are."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says "unlimited", and does not take it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _network(host: str) -> str:
    """An address, or of IPv6 the network of which one machine may have all addresses."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)
