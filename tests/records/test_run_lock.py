"""Locks: one run at a time on a task or its jobs, on this machine."""

import subprocess
import sys
import threading
import time
import uuid

import pytest

from prefect_cvat.exceptions import RunInProgressError
from prefect_cvat.records.run_lock import exclusive_run

HOLD = """
import time
from prefect_cvat.records.run_lock import exclusive_run
with exclusive_run({url!r}, 1, {jobs!r}) as lock:
    lock.sending(7)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def url():
    return f"http://{uuid.uuid4()}"


def is_free(url, jobs):
    """Whether another run could begin; in another thread, as runs of one process are."""
    outcome = []

    def begin():
        try:
            with exclusive_run(url, 1, jobs):
                outcome.append(True)
        except RunInProgressError:
            outcome.append(False)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    return outcome[0]


def test_run_on_a_task_locks_all_its_jobs(url):
    with exclusive_run(url, 1):
        assert not is_free(url, None)
        assert not is_free(url, [7])
    assert is_free(url, None)


def test_runs_on_different_jobs_run_concurrently(url):
    with exclusive_run(url, 1, [7, 8]), exclusive_run(url, 1, [9]):
        assert is_free(url, [10])
        assert not is_free(url, [6, 8])
        assert not is_free(url, None)
        with pytest.raises(RunInProgressError, match=r"job 8 of task 1 on .* \(process \d+ on .* since"):
            exclusive_run(url, 1, [8]).__enter__()
    assert is_free(url, None)


@pytest.mark.parametrize(
    ("killed", "heir", "stranger"),
    [(None, None, None), (None, [7], [8]), ([7], [7, 8], [8]), ([7], None, None)],
)
def test_next_run_waits_for_the_write_of_a_killed_run(url, killed, heir, stranger):
    hold = HOLD.format(url=url, jobs=killed)
    process = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    assert not is_free(url, killed)
    process.kill()
    process.wait()
    process.stdout.close()
    if stranger is not None:
        with exclusive_run(url, 1, stranger) as lock:
            assert lock.earlier_write is None
    with exclusive_run(url, 1, heir) as lock:
        started = time.monotonic()
        assert lock.earlier_write is not None
        lock.wait_for_earlier_write(0.3 + time.time() - lock.earlier_write)
        assert 0.2 < time.monotonic() - started < 2
    with exclusive_run(url, 1) as lock:
        assert lock.earlier_write is None


def test_run_with_known_outcomes_leaves_no_wait(url):
    with exclusive_run(url, 1) as lock:
        lock.sending(7)
        lock.settled(7)
    with exclusive_run(url, 1) as lock:
        assert lock.earlier_write is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://127.0.0.1:8080", "http://localhost:8080/"),
        ("https://cvat.example.com", "HTTPS://CVAT.example.com.:443/"),
        ("http://[::1]:8080", "localhost:8080/api"),
    ],
)
def test_spellings_of_an_address_share_a_lock(one, other):
    with exclusive_run(one, 1):
        assert not is_free(other, None)
        assert not is_free(other, [7])
    assert is_free(other, None)


@pytest.mark.parametrize("ahead", [300, 0, -300], ids=["ahead", "right", "behind"])
def test_waits_for_write_of_killed_run_whatever_the_clock_of_this_machine(url, ahead, monkeypatch):
    with exclusive_run(url, 1) as lock:
        lock.sending(7)  # and is killed before the answer
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    waited = []

    with exclusive_run(url, 1) as lock:
        lock.wait_for_earlier_write(60, waited.append)

    assert waited == [pytest.approx(60, abs=5)]
    with exclusive_run(url, 1) as lock:
        assert lock.earlier_write is None
