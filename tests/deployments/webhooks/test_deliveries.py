"""Which deliveries are stored, and for how long."""

import os
import sqlite3
import threading
import time
from datetime import UTC, datetime

import pytest

from prefect_cvat.deployments.webhooks import webhook_store as module
from prefect_cvat.deployments.webhooks.webhook_store import Deliveries, QueueFullError
from prefect_cvat.events.cvat_events import TaskState, task_ready
from prefect_cvat.exceptions import StorageError

EVENT = task_ready(TaskState(id=1, name="a task"), "https://cvat.example.com", datetime.now(UTC))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "webhooks.sqlite3"


@pytest.fixture
def kept(path):
    deliveries = Deliveries(path)
    yield deliveries
    deliveries.close()


def test_event_is_pending_until_done(kept):
    assert kept.add("a", EVENT)
    [delivery] = kept.pending()
    assert delivery.event == EVENT
    assert kept.count_pending() == 1
    kept.done(delivery)
    assert kept.pending() == []
    assert kept.count_pending() == 0


def test_recognizes_repeated_delivery(kept):
    assert kept.add("a", EVENT)
    assert not kept.add("a", EVENT)
    kept.done(kept.pending()[0])
    assert not kept.add("a", EVENT)
    assert kept.count_pending() == 0


def test_keeps_pending_and_done_over_a_restart(path):
    before = Deliveries(path)
    before.add("done", EVENT)
    before.done(before.pending()[0])
    before.add("waiting", EVENT)
    before.close()
    after = Deliveries(path)
    assert not after.add("done", EVENT)
    assert not after.add("waiting", EVENT)
    assert [delivery.event for delivery in after.pending()] == [EVENT]
    after.close()


def test_pending_events_are_in_order(kept):
    for number in range(250):
        kept.add(str(number), EVENT.model_copy(update={"payload": {"task_id": number}}))
    found, last = [], 0
    while batch := kept.pending(after=last):
        found += [delivery.event.payload["task_id"] for delivery in batch]
        last = batch[-1].number
    assert found == list(range(250))


def test_refuses_more_than_max_pending_events(path):
    kept = Deliveries(path, max_pending=2)
    kept.add("a", EVENT)
    kept.add("b", EVENT)
    with pytest.raises(QueueFullError, match="2 events already wait"):
        kept.add("c", EVENT)
    assert not kept.add("a", EVENT), "what is known is not refused"
    kept.done(kept.pending()[0])
    assert kept.add("c", EVENT)
    kept.close()


def test_forgets_oldest_done_deliveries(path):
    kept = Deliveries(path, max_remembered=3)
    kept.add("waiting", EVENT)
    for number in range(10):
        kept.add(str(number), EVENT)
        kept.done(kept.pending()[-1])
    kept.prune()
    assert kept.count_pending() == 1
    assert [str(number) for number in range(10) if not kept.add(str(number), EVENT)] == ["7", "8", "9"]
    kept.close()


def test_forgets_deliveries_after_two_weeks(kept, monkeypatch, caplog):
    kept.add("done", EVENT)
    kept.done(kept.pending()[0])
    kept.add("waiting", EVENT)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 13 * 86400)
    kept.prune()
    assert not kept.add("done", EVENT)
    assert kept.count_pending() == 1
    monkeypatch.setattr(module.time, "time", lambda: now + 15 * 86400)
    kept.prune()
    assert "deleted 1 events that have waited for the Prefect server for 14 days" in caplog.text
    assert kept.add("done", EVENT)


def test_concurrent_equal_deliveries_count_once(path):
    both = [Deliveries(path), Deliveries(path)]
    new = []

    def add(kept):
        new.extend(kept.add(str(number), EVENT) for number in range(20))

    threads = [threading.Thread(target=add, args=(kept,)) for kept in both for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(new) == 20
    assert both[0].count_pending() == 20
    for kept in both:
        kept.close()


def test_error_names_folder_that_is_a_file(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(StorageError, match="cannot store webhooks in .*folder/webhooks.sqlite3"):
        Deliveries(tmp_path / "folder" / "webhooks.sqlite3")


def test_error_names_file_that_is_no_database(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"webhooks.sqlite3: file is not a database"):
        Deliveries(path)


def test_file_is_readable_by_its_user_only(path):
    before = os.umask(0)
    try:
        kept = Deliveries(path)
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA journal_mode=WAL")  # nor the files that SQLite may create beside it
        kept.add("a", EVENT)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        kept.close()
        database.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys([path.name, f"{path.name}-wal", f"{path.name}-shm"], 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_removes_permissions_of_others(path):
    path.parent.mkdir()
    path.touch()
    path.chmod(0o644)
    Deliveries(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
