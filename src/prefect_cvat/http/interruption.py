"""Requests that another thread can end, also while they wait for the first byte of a response."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["Interruption", "watch_socket"]

_of_thread = threading.local()


class Interruption:
    """Ends requests: those under way fail at once, and none is sent again. May be used from several threads.

    CVAT 2.73 answers after up to 50 s where it has yet to make a chunk: too long for a run that is to stop.
    """

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}  # by thread

    @property
    def is_set(self) -> bool:
        """Whether the requests have been ended."""
        return self._is_set.is_set()

    def set(self) -> None:
        """End the requests under way, and all later ones."""
        self._is_set.set()
        with self._lock:
            for connected in self._sockets.values():
                _shut_down(connected)

    def pause(self, seconds: float, _error: BaseException | None) -> None:
        """Wait between two attempts at a request, or until `set`.

        Args:
            seconds: How long.
            _error: What the last attempt has failed with, for subclasses.
        """
        self._is_set.wait(seconds)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch a request of this thread. Afterwards its connection may serve others, and is left alone."""
        _of_thread.interruption = self
        try:
            yield
        finally:
            _of_thread.interruption = None
            with self._lock:
                self._sockets.pop(threading.get_ident(), None)

    def _watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets[threading.get_ident()] = connected
            if self.is_set:
                _shut_down(connected)


def watch_socket(connected: socket.socket) -> None:
    """Let the interruption that watches this thread, if there is one, end what is read from a socket."""
    interruption: Interruption | None = getattr(_of_thread, "interruption", None)
    if interruption is not None:
        interruption._watch(connected)


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # the other end may have closed it
        # not by the method of an SSLSocket, which would change it while another thread reads from it
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
