"""SQLite for many threads: snapshots for readers, one writer at a time."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect_cvat.sandbox.storage.snapshots import Past
from prefect_cvat.sandbox.storage.tables import TABLES

Connection = sqlite3.Connection
Row = sqlite3.Row


class Database:
    """The sandbox's state on disk.

    Connections are pooled. Writers queue on a lock of this process, which is fairer and quicker than SQLite's
    own polling; SQLite's lock still protects the file from another process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[Connection] = []
        self._every: list[Connection] = []
        self._pool = threading.Lock()
        self._writing = threading.Lock()
        self._past = Past(self._borrow, self._give_back)
        with self._borrowed() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(TABLES)

    def remember(self, seconds: float) -> None:
        """Says how far back `read` can see from now on: 0 for not at all, which costs nothing."""
        self._past.remember(seconds)

    @contextmanager
    def read(self, lag: float = 0) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout.

        Args:
            lag: Which one: that of so many seconds ago.
        """
        if lag:
            with self._past.at(time.monotonic() - lag) as past:
                if past is not None:
                    yield past
                    return
        with self._borrowed() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction: all of it is kept, or, after an exception, none."""
        with self._writing, self._past.keeping(), self._borrowed() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Closes every connection. Nothing may be in use."""
        with self._pool:
            for connection in self._every:
                connection.close()
            self._every.clear()
            self._idle.clear()

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        connection = self._borrow()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _borrow(self) -> Connection:
        with self._pool:
            return self._idle.pop() if self._idle else self._connect()

    def _give_back(self, connection: Connection) -> None:
        with self._pool:
            self._idle.append(connection)

    def _connect(self) -> Connection:
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
        connection.row_factory = Row
        connection.execute("PRAGMA foreign_keys = ON")
        # With a write-ahead log this loses nothing when the process dies, only when the machine does.
        connection.execute("PRAGMA synchronous = NORMAL")
        self._every.append(connection)
        return connection


def take_ids(db: Connection, name: str, count: int) -> range:
    """The next ids of a sequence, which never gives one twice, also after deletions."""
    row = db.execute(
        "INSERT INTO sequence VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = value + ? RETURNING value",
        (name, count, count),
    ).fetchone()
    return range(row["value"] - count + 1, row["value"] + 1)
