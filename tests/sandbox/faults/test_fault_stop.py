"""Stopping a sandbox with faults, and its log of broken connections."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from polling import until
from prefect_cvat.sandbox import Sandbox
from sandbox.faults.faulty_sandbox import rule


def test_stop_runs_late_commits_at_once(tmp_path: Path) -> None:
    labels = [{"name": f"label {number}"} for number in range(4000)]  # takes a while to execute
    with Sandbox(tmp_path) as server:
        basic = (server.user, server.password)
        server.faults.set([rule("late_commit", methods=["POST"], delay=300)])
        answer = requests.post(
            f"{server.url}/api/tasks", json={"name": "late", "labels": labels}, auth=basic, timeout=10
        )
        assert answer.status_code == 504
        assert server.faults.pending == 1
        start = time.monotonic()
    assert time.monotonic() - start < 8
    assert server.faults.pending == 0
    assert server.faults.log()[0].application_status == 201
    with Sandbox(tmp_path) as server:
        tasks = requests.get(f"{server.url}/api/tasks", auth=basic, timeout=10).json()["results"]
        kept = requests.get(f"{server.url}/api/labels?task_id={tasks[0]['id']}", auth=basic, timeout=10)
    assert [task["name"] for task in tasks] == ["late"]
    assert kept.json()["count"] == len(labels)


def test_stop_does_not_wait_for_injected_latency() -> None:
    with ThreadPoolExecutor(1) as pool:
        with Sandbox() as server:
            server.faults.set([rule("latency", seconds=300)])
            answer = pool.submit(requests.get, f"{server.url}/api/server/about", timeout=20)
            until(server.faults.log)
            start = time.monotonic()
        assert time.monotonic() - start < 5
        assert answer.result().status_code == 200


def test_broken_connections_log_no_errors() -> None:
    with recorded_complaints() as complaints, Sandbox() as server:
        logging.getLogger("uvicorn.error").addHandler(complaints)
        about = f"{server.url}/api/server/about"
        server.faults.set([rule("reset", times=1), rule("truncate", times=1)])
        for _ in range(2):
            with pytest.raises(requests.RequestException):
                requests.get(about, timeout=10)
        server.faults.set([rule("bandwidth", bytes_per_second=20)])
        with requests.get(about, timeout=10, stream=True) as answer:
            answer.raw.read(1)
        time.sleep(0.3)  # for some more pieces, which meet a closed connection
    assert [record.getMessage() for record in complaints.records] == []


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def recorded_complaints() -> Iterator[Complaints]:
    """Captures uvicorn's log once added there: uvicorn sets its handlers when it starts."""
    complaints = Complaints()
    try:
        yield complaints
    finally:
        logging.getLogger("uvicorn.error").removeHandler(complaints)
