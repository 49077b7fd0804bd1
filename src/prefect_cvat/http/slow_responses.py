"""Connections that fail if a response comes too slowly.

The timeout of a socket restarts with each byte, so a response of one byte per second never times out. Here
all bytes are counted: status line, headers, body, and the lines between the parts of a chunked body.
"""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from prefect_cvat.http.interruption import watch_socket

__all__ = ["MinimumSpeedAdapter", "SlowResponseError"]

WINDOW_SECONDS = 60.0
"""Maximum seconds for `MIN_BYTES`, in addition to the time-out of the socket: a response may pause once."""

MIN_BYTES = 10_000
"""Minimum bytes in that time, unless the response ends before: some 75 to 170 bytes a second."""

MAX_SECONDS = 7200.0
"""Maximum seconds for a whole response, from its first byte on."""

MAX_LINE_BYTES = 2**16
"""Maximum length of a line in bytes: of headers, and of the lengths in chunked bodies."""


class SlowResponseError(TimeoutError):
    """A response comes too slowly. urllib3 handles it as a time-out of the socket."""


class MinimumSpeedAdapter(HTTPAdapter):
    """Makes requests over connections with a minimum speed."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the connection pools."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> ProxyManager:
        """Create the connection pools for a proxy."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # SOCKS proxies connect differently
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _PacedReader(io.RawIOBase):
    """Reads from a socket as long as data come fast enough."""

    def __init__(self, source: io.RawIOBase, window: float) -> None:
        self._source = source
        self._window = window
        self._begin = self._window_begin = 0.0
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        length = self._source.readinto(buffer)
        now = time.monotonic()
        if not self._begin:
            self._begin = self._window_begin = now
        self._received += length or 0
        if now - self._window_begin >= self._window:
            if self._received < MIN_BYTES:
                raise SlowResponseError(
                    f"the answer comes too slowly: {self._received} bytes in {now - self._window_begin:.0f} s"
                )
            self._window_begin, self._received = now, 0
        if now - self._begin >= MAX_SECONDS:
            raise SlowResponseError(f"the answer has no end after {MAX_SECONDS:.0f} s")
        return length

    def close(self) -> None:
        self._source.close()
        super().close()


class _LineReader(io.BufferedReader):
    def readline(self, size: int | None = -1) -> bytes:
        return super().readline(MAX_LINE_BYTES + 1 if size is None or size < 0 else size)


class _PacedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        watch_socket(sock)
        window = WINDOW_SECONDS + (sock.gettimeout() or 0.0)
        self.fp = _LineReader(_PacedReader(self.fp.detach(), window), 2**16)


class _PlainConnection(HTTPConnection):
    response_class = _PacedResponse


class _TlsConnection(HTTPSConnection):
    response_class = _PacedResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}
