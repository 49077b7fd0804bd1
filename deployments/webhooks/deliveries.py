"""Which webhooks have come, and which of them Prefect has yet to hear of, in a file that survives a restart.

A delivery is written here before CVAT gets its answer. From then on it is ours: CVAT does not send it again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.events import Event

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.folder_permissions import make_folder

__all__ = ["Deliveries", "Delivery", "QueueFullError"]

logger = logging.getLogger(__name__)

MAX_PENDING = 10_000
"""Events that may wait for Prefect. Any further delivery is refused, and CVAT sends it again."""

MAX_REMEMBERED = 50_000
"""Deliveries that are remembered after their event was emitted."""

REMEMBER_SECONDS = 14 * 24 * 3600.0
"""How long a delivery is remembered. CVAT 2.73 sends one again for four days."""

BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS delivery (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    received REAL NOT NULL,
    event TEXT -- until it has been emitted
);
CREATE INDEX IF NOT EXISTS pending ON delivery (number) WHERE event IS NOT NULL;
"""


class QueueFullError(StorageError):
    """So many events wait for Prefect that no more are taken."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that has yet to be emitted."""

    number: int
    event: Event


class Deliveries:
    """Deliveries of webhooks in a SQLite file. May be used from several threads, and processes.

    Args:
        path: The file; made where there is none. Only its user can read it.
        max_pending: How many events may wait.
        max_remembered: How many deliveries are remembered.

    Raises:
        StorageError: The file cannot be made or read.
    """

    def __init__(
        self, path: Path, *, max_pending: int = MAX_PENDING, max_remembered: int = MAX_REMEMBERED
    ) -> None:
        self._path = path
        self._max_pending = max_pending
        self._max_remembered = max_remembered
        self._lock = threading.Lock()
        try:
            make_folder(path.parent, within=path.parent)
            # what is in webhooks is for nobody else; SQLite gives its other files the permissions of this one
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._database = sqlite3.connect(
                path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"deliveries of webhooks cannot be kept in {path}: {error}") from error
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._database.close()
            raise StorageError(f"deliveries of webhooks cannot be kept in {path}: {error}") from error
        self.prune()

    def add(self, digest: str, event: Event) -> bool:
        """Keep an event until it is emitted; return False if its delivery is known already.

        Raises:
            QueueFullError: Too many wait.
            StorageError: The file does not take it.
        """
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM delivery WHERE digest = ?", (digest,)).fetchone():
                return False
            waiting = self._count(database)
            if waiting >= self._max_pending:
                raise QueueFullError(f"{waiting} events wait for the Prefect server already")
            database.execute(
                "INSERT INTO delivery (digest, received, event) VALUES (?, ?, ?)",
                (digest, time.time(), event.model_dump_json()),
            )
            return True

    def pending(self, *, after: int = 0, limit: int = 100) -> list[Delivery]:
        """The events that wait, in the order in which they came, behind that of the given number."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT number, event FROM delivery WHERE event IS NOT NULL AND number > ?"
                " ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Delivery(number, Event.model_validate_json(event)) for number, event in rows]

    def count_pending(self) -> int:
        """How many events wait."""
        with self._transaction() as database:
            return self._count(database)

    def done(self, delivery: Delivery) -> None:
        """Note that an event has been emitted. Its delivery stays remembered."""
        with self._transaction() as database:
            database.execute("UPDATE delivery SET event = NULL WHERE number = ?", (delivery.number,))

    def prune(self) -> None:
        """Forget what is too old or too much."""
        oldest = time.time() - REMEMBER_SECONDS
        with self._transaction() as database:
            lost = database.execute(
                "DELETE FROM delivery WHERE event IS NOT NULL AND received < ?", (oldest,)
            ).rowcount
            database.execute(
                "DELETE FROM delivery WHERE event IS NULL AND (received < ? OR number <="
                " (SELECT max(number) FROM delivery) - ?)",
                (oldest, self._max_remembered),
            )
        if lost:
            logger.error(
                "%d events waited for the Prefect server for %.0f days, and are given up",
                lost,
                REMEMBER_SECONDS / 86400,
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on disk when it has ended, also against other processes."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageError(
                    f"deliveries of webhooks cannot be kept in {self._path}: {error}"
                ) from error

    @staticmethod
    def _count(database: sqlite3.Connection) -> int:
        count: int = database.execute("SELECT count(*) FROM delivery WHERE event IS NOT NULL").fetchone()[0]
        return count
