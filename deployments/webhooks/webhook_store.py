"""Stores received webhooks in a SQLite file, and the events that wait for the Prefect server.

An event is stored before CVAT gets its answer, since CVAT does not repeat a webhook that was accepted.
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
"""The maximum number of waiting events. Further webhooks are refused, and CVAT repeats them."""

MAX_REMEMBERED = 50_000
"""The maximum number of webhooks to remember after their events were sent."""

REMEMBER_SECONDS = 14 * 24 * 3600.0
"""How long a webhook is remembered. CVAT 2.73 repeats a webhook for up to four days."""

BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS delivery (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    received REAL NOT NULL,
    event TEXT -- NULL once it was sent
);
CREATE INDEX IF NOT EXISTS pending ON delivery (number) WHERE event IS NOT NULL;
"""


class QueueFullError(StorageError):
    """The maximum number of events wait for the Prefect server."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A stored event that waits to be sent."""

    number: int
    event: Event


class Deliveries:
    """Received webhooks in a SQLite file. Several threads and processes may use it.

    Args:
        path: The file; created if it does not exist, readable by its user only.
        max_pending: The maximum number of waiting events.
        max_remembered: The maximum number of webhooks to remember after their events were sent.

    Raises:
        StorageError: The file cannot be created or read.
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
            # webhooks may be confidential; SQLite gives its journal the permissions of this file
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._database = sqlite3.connect(
                path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot store webhooks in {path}: {error}") from error
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._database.close()
            raise StorageError(f"cannot store webhooks in {path}: {error}") from error
        self.prune()

    def add(self, digest: str, event: Event) -> bool:
        """Store an event until it is sent; False if its webhook was received before.

        Args:
            digest: The digest of the body of the webhook.
            event: The event.

        Raises:
            QueueFullError: The maximum number of events wait.
            StorageError: The file cannot be written.
        """
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM delivery WHERE digest = ?", (digest,)).fetchone():
                return False
            waiting = self._count(database)
            if waiting >= self._max_pending:
                raise QueueFullError(f"{waiting} events already wait for the Prefect server")
            database.execute(
                "INSERT INTO delivery (digest, received, event) VALUES (?, ?, ?)",
                (digest, time.time(), event.model_dump_json()),
            )
            return True

    def pending(self, *, after: int = 0, limit: int = 100) -> list[Delivery]:
        """The first waiting events, in order, with numbers greater than `after`."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT number, event FROM delivery WHERE event IS NOT NULL AND number > ?"
                " ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Delivery(number, Event.model_validate_json(event)) for number, event in rows]

    def count_pending(self) -> int:
        """The number of waiting events."""
        with self._transaction() as database:
            return self._count(database)

    def done(self, delivery: Delivery) -> None:
        """Note that an event was sent. Its webhook is still remembered."""
        with self._transaction() as database:
            database.execute("UPDATE delivery SET event = NULL WHERE number = ?", (delivery.number,))

    def prune(self) -> None:
        """Delete webhooks that are too old, or too many."""
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
                "deleted %d events that have waited for the Prefect server for %.0f days",
                lost,
                REMEMBER_SECONDS / 86400,
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which excludes other threads and processes."""
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
                raise StorageError(f"cannot store webhooks in {self._path}: {error}") from error

    @staticmethod
    def _count(database: sqlite3.Connection) -> int:
        count: int = database.execute("SELECT count(*) FROM delivery WHERE event IS NOT NULL").fetchone()[0]
        return count
