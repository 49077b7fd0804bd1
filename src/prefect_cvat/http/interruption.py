"""Interrupts requests from another thread, even while they wait for the first byte of a response."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["Interruption", "watch_socket"]

_of_thread = threading.local()


class Interruption:
    """Interrupts requests: those in progress fail at once, and none is sent again. Thread-safe.

    CVAT 2.73 may take 50 s to respond if it has to make a chunk: too long for a run that was stopped.
    """

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}  # by thread

    @property
    def is_set(self) -> bool:
        """Whether the requests were interrupted."""
        return self._is_set.is_set()

    def set(self) -> None:
        """Interrupt the requests in progress, and all later ones."""
        self._is_set.set()
        with self._lock:
            for connected in self._sockets.values():
                _shut_down(connected)

    def pause(self, seconds: float, _error: BaseException | None) -> None:
        """Wait between two attempts at a request, or until `set`.

        Args:
            seconds: The time to wait.
            _error: The error of the last attempt, for subclasses.
        """
        self._is_set.wait(seconds)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch a request of this thread. Later its connection may serve others, and is not shut down."""
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
    """Register a socket with the interruption that watches this thread, if any."""
    interruption: Interruption | None = getattr(_of_thread, "interruption", None)
    if interruption is not None:
        interruption._watch(connected)


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # the other end may have closed it
        # SSLSocket.shutdown would change the object while another thread reads from it
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
