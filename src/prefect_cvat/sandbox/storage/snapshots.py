"""Old states of the database, kept as open read transactions."""

import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_MAX_SNAPSHOTS = 50


@dataclass(eq=False, kw_only=True)
class _Snapshot:
    """One old state of the database.

    Attributes:
        connection: Connection with an open read transaction that sees the state.
        until: Time on the monotonic clock at which the state was replaced by a newer one.
        in_use: Lock of the thread that reads.
        is_closed: Whether the transaction has ended.
    """

    connection: sqlite3.Connection
    until: float = math.inf
    in_use: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False


class Snapshots:
    """The states of the database before each of the latest writes.

    With a write-ahead log, an open read transaction keeps seeing the state in which it began, and blocks
    nobody. If the database changes often, some states are skipped, so that at most about 50 connections are
    open.

    Args:
        borrow: Returns a free connection.
        give_back: Takes a connection back.
    """

    def __init__(
        self,
        borrow: Callable[[], sqlite3.Connection],
        give_back: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._borrow = borrow
        self._give_back = give_back
        self._lock = threading.Lock()
        self._snapshots: deque[_Snapshot] = deque()
        self._seconds = 0.0

    def keep_for(self, seconds: float) -> None:
        """Set for how many seconds states are kept from now on; 0 keeps none."""
        if seconds == self._seconds and not self._snapshots:
            return
        with self._lock:
            self._seconds = seconds
            self._close_expired()

    @contextmanager
    def before_write(self) -> Iterator[None]:
        """Keep the state before the write in the `with` block. Only one write may run at a time."""
        snapshot = self._begin()
        try:
            yield
        finally:
            if snapshot is not None:
                snapshot.until = time.monotonic()

    @contextmanager
    def at(self, time_: float) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees the state at a time of the monotonic clock; None for the current state."""
        while True:
            with self._lock:
                found = next((one for one in self._snapshots if one.until > time_), None)
            if found is None:
                yield None
                return
            with found.in_use:
                if not found.is_closed:
                    yield found.connection
                    return

    def _begin(self) -> _Snapshot | None:
        with self._lock:
            self._close_expired()
            too_soon = bool(self._snapshots) and (
                self._snapshots[-1].until > time.monotonic() - self._seconds / _MAX_SNAPSHOTS
            )
            if not self._seconds or too_soon:
                return None
        connection = self._borrow()
        connection.execute("BEGIN")
        # A transaction sees a state from its first statement on.
        connection.execute("SELECT 1 FROM sequence").fetchone()
        snapshot = _Snapshot(connection=connection)
        with self._lock:
            # Added before the commit, so that a reader never gets the new state for the old one.
            self._snapshots.append(snapshot)
        return snapshot

    def _close_expired(self) -> None:
        oldest = time.monotonic() - self._seconds
        while self._snapshots and (not self._seconds or self._snapshots[0].until <= oldest):
            # Its reader ends soon; the next write or request closes it.
            if not self._close(self._snapshots[0]):
                return
            self._snapshots.popleft()

    def _close(self, snapshot: _Snapshot) -> bool:
        if not snapshot.in_use.acquire(blocking=False):
            return False
        try:
            snapshot.is_closed = True
            snapshot.connection.execute("ROLLBACK")
            self._give_back(snapshot.connection)
        finally:
            snapshot.in_use.release()
        return True
