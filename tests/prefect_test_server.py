"""A Prefect server for the tests of one process."""

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import prefect
import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

DATABASE = "prefect-test.db"
"""How `prefect_test_harness` calls its database."""

START_SECONDS = 180


@contextmanager
def prefect_test_server(folder: Path, databases: Path) -> Iterator[None]:
    """Start a Prefect server.

    Its database is a copy of an empty one: the migrations that make one take longer than the start of the server.

    Args:
        folder: For its database.
        databases: Has the empty database of each version of Prefect. All processes of the tests share it: the first
            makes the database.
    """
    empty = databases / f"{prefect.__version__}.db"
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # else events can be read up to five seconds after they were accepted
        patch.setenv("PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL", "0.1")
        patch.setattr("prefect.testing.utilities.mkdtemp", lambda: str(folder))
        # the thread of heartbeats takes a second at the end of each flow run
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        with _locked(databases / "lock"):
            is_first = not empty.exists()
            if not is_first:
                shutil.copy(empty, folder / DATABASE)
            stack.enter_context(prefect_test_harness(server_startup_timeout=START_SECONDS))
            if is_first:
                _save(folder / DATABASE, empty)
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _save(database: Path, to: Path) -> None:
    unfinished = to.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
    unfinished.replace(to)
