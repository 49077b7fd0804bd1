"""Limits the connections to the webhook receiver, so that other clients cannot keep webhooks out.

CVAT is not recognized before its signature is checked, and behind a proxy it may share its address with other
clients. So no address is blocked. If there are too many connections, from one address or in total, the
connection that has waited longest for the rest of a request is closed. A webhook arrives within milliseconds.
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
"""The maximum number of open connections."""

HEAD_SECONDS = 5.0
"""The time within which the head of a request must arrive, after the connection or the last answer."""

MAX_BUFFERED_BYTES = 32 * 2**20
"""The maximum number of bytes of incomplete requests, of all connections together."""

SECONDS_BETWEEN_WARNINGS = 60.0
"""The minimum time between two warnings about closed connections."""


class Connections:
    """The open connections of a server.

    At most `MAX_CONNECTIONS`, and at most half of the files that this process may open. At most half of them
    are from one address (with IPv6, from one /64 network).
    """

    def __init__(self) -> None:
        self._max = min(MAX_CONNECTIONS, _raise_file_limit() // 2)
        self._open: dict[_Connection, None] = {}  # ordered by when it was opened or last answered
        self._of_address: Counter[str] = Counter()
        self._buffered_bytes = 0
        self._closed = 0
        self._next_warning = 0.0

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """The factory of connections for uvicorn."""
        return partial(_Connection, self)

    def opened(self, connection: _Connection) -> None:
        """Add an opened connection; close another one if there are too many."""
        self._open[connection] = None
        self._of_address[connection.address] += 1
        if self._of_address[connection.address] > self._max // 2:
            self._close_oldest(connection.address)
        elif len(self._open) > self._max:
            self._close_oldest()

    def answered(self, connection: _Connection) -> None:
        """Note that a request was answered, and its connection waits for the next one."""
        del self._open[connection]
        self._open[connection] = None
        self._count_bytes(connection, -connection.buffered_bytes)

    def received(self, connection: _Connection, size: int) -> None:
        """Count received bytes; close connections if all together buffer too many."""
        self._count_bytes(connection, size)
        while self._buffered_bytes > MAX_BUFFERED_BYTES and self._close_oldest():
            pass

    def closed(self, connection: _Connection) -> None:
        """Remove a connection that is closed or being closed."""
        if connection in self._open:
            del self._open[connection]
            self._count_bytes(connection, -connection.buffered_bytes)
            self._of_address[connection.address] -= 1
            if not self._of_address[connection.address]:
                del self._of_address[connection.address]

    def _count_bytes(self, connection: _Connection, size: int) -> None:
        connection.buffered_bytes += size
        self._buffered_bytes += size

    def _close_oldest(self, address: str | None = None) -> bool:
        """Close the connection that has waited longest; False if none waits."""
        for connection in self._open:
            if connection.is_waiting and address in (None, connection.address):
                self.closed(connection)
                connection.transport.abort()
                self._warn()
                return True
        return False

    def _warn(self) -> None:
        self._closed += 1
        if time.monotonic() >= self._next_warning:
            self._next_warning = time.monotonic() + SECONDS_BETWEEN_WARNINGS
            logger.warning(
                "closed connections without a complete request to make room for others: %d so far",
                self._closed,
            )


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request does not arrive in time.

    Attributes:
        address: The address of the client; with IPv6 its /64 network.
        buffered_bytes: The bytes received of an incomplete request.
    """

    def __init__(self, connections: Connections, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.address = ""
        self.buffered_bytes = 0
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a request or the rest of one; False while a complete one is being answered."""
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
        """Set the deadline. Unlike the timeout of uvicorn, it is not extended by each byte."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._end_waiting)

    def _end_waiting(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def _raise_file_limit() -> int:
    """Raise the limit of open files of this process to the allowed maximum, and return it."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS reports "unlimited", but refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _network(host: str) -> str:
    """An address; with IPv6 its /64 network, as one machine may use all of its addresses."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)
