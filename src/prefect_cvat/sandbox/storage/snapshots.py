"""What the database held a while ago: read transactions that are kept open."""

import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_MOST = 50


@dataclass(eq=False, kw_only=True)
class _Moment:
    """One state of the database.

    Attributes:
        connection: A transaction that sees it, as long as it is open.
        until: When it ceased to be the present one, on the monotonic clock.
        in_use: Held by whoever reads.
        is_forgotten: Whether the transaction has ended.
    """

    connection: sqlite3.Connection
    until: float = math.inf
    in_use: threading.Lock = field(default_factory=threading.Lock)
    is_forgotten: bool = False


class Past:
    """The states before each of the latest writes.

    With a write-ahead log a transaction that reads sees the state at its begin for as long as it is open, and
    holds up nobody. Of states that change at short intervals some are left out, so that not more than some
    fifty connections are open at a time.

    Args:
        borrow: Gives a connection that is free.
        give_back: Takes one again.
    """

    def __init__(
        self,
        borrow: Callable[[], sqlite3.Connection],
        give_back: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._borrow = borrow
        self._give_back = give_back
        self._lock = threading.Lock()
        self._moments: deque[_Moment] = deque()
        self._seconds = 0.0

    def remember(self, seconds: float) -> None:
        """Says how long states are kept from now on: 0 for not at all."""
        if seconds == self._seconds and not self._moments:
            return
        with self._lock:
            self._seconds = seconds
            self._forget()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Stands around a write, of which there must be one at a time: keeps what there was before it."""
        moment = self._begin()
        try:
            yield
        finally:
            if moment is not None:
                moment.until = time.monotonic()

    @contextmanager
    def at(self, moment: float) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees what there was at a time of the monotonic clock; None for the present."""
        while True:
            with self._lock:
                found = next((one for one in self._moments if one.until > moment), None)
            if found is None:
                yield None
                return
            with found.in_use:
                if not found.is_forgotten:
                    yield found.connection
                    return

    def _begin(self) -> _Moment | None:
        with self._lock:
            self._forget()
            too_soon = bool(self._moments) and (
                self._moments[-1].until > time.monotonic() - self._seconds / _MOST
            )
            if not self._seconds or too_soon:
                return None
        connection = self._borrow()
        connection.execute("BEGIN")
        # Only with its first statement does a transaction see a state.
        connection.execute("SELECT 1 FROM sequence").fetchone()
        moment = _Moment(connection=connection)
        with self._lock:
            # From before the commit, so that at no moment the new state is taken for that of the past.
            self._moments.append(moment)
        return moment

    def _forget(self) -> None:
        oldest = time.monotonic() - self._seconds
        while self._moments and (not self._seconds or self._moments[0].until <= oldest):
            # Who reads there ends soon; the next write or request forgets it.
            if not self._end(self._moments[0]):
                return
            self._moments.popleft()

    def _end(self, moment: _Moment) -> bool:
        if not moment.in_use.acquire(blocking=False):
            return False
        try:
            moment.is_forgotten = True
            moment.connection.execute("ROLLBACK")
            self._give_back(moment.connection)
        finally:
            moment.in_use.release()
        return True
