"""SQLite for several threads: each read sees one snapshot, and one thread writes at a time."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect_cvat.sandbox.storage.snapshots import Snapshots
from prefect_cvat.sandbox.storage.tables import TABLES

Connection = sqlite3.Connection
Row = sqlite3.Row


class Database:
    """The SQLite database of a sandbox.

    Connections are pooled. Writers wait for a lock of this process, which is fairer and faster than SQLite's
    polling. SQLite's own lock still protects the file from other processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[Connection] = []
        self._every: list[Connection] = []
        self._pool = threading.Lock()
        self._writing = threading.Lock()
        self._snapshots = Snapshots(self._borrow, self._give_back)
        with self._borrowed() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(TABLES)

    def keep_snapshots_for(self, seconds: float) -> None:
        """Set how many seconds back `read` can see from now on; 0 turns it off and costs nothing."""
        self._snapshots.keep_for(seconds)

    @contextmanager
    def read(self, lag: float = 0) -> Iterator[Connection]:
        """Open a read transaction: a connection that sees one unchanging state of the database.

        Args:
            lag: Age of that state in seconds.
        """
        if lag:
            with self._snapshots.at(time.monotonic() - lag) as snapshot:
                if snapshot is not None:
                    yield snapshot
                    return
        with self._borrowed() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction. An exception rolls it back."""
        with self._writing, self._snapshots.before_write(), self._borrowed() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close all connections. None may be in use."""
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
        # With a write-ahead log this loses data only if the machine dies, not if the process does.
        connection.execute("PRAGMA synchronous = NORMAL")
        self._every.append(connection)
        return connection


def take_ids(db: Connection, name: str, count: int) -> range:
    """Take the next `count` ids of a sequence. An id is never given twice, even after deletions."""
    row = db.execute(
        "INSERT INTO sequence VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = value + ? RETURNING value",
        (name, count, count),
    ).fetchone()
    return range(row["value"] - count + 1, row["value"] + 1)
