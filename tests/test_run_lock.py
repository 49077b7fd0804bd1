"""The right to be the only run on a task, or on jobs of it, on this machine."""

import subprocess
import sys
import threading
import uuid

import pytest

from prefect_cvat.exceptions import RunInProgressError
from prefect_cvat.run_lock import only_run_on

HOLD = """
import time
from prefect_cvat.run_lock import only_run_on
with only_run_on({url!r}, 1, {jobs!r}):
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
            with only_run_on(url, 1, jobs):
                outcome.append(True)
        except RunInProgressError:
            outcome.append(False)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    return outcome[0]


def test_a_run_on_the_task_has_all_of_its_jobs(url):
    with only_run_on(url, 1):
        assert not is_free(url, None)
        assert not is_free(url, [7])
    assert is_free(url, None)


def test_runs_on_different_jobs_go_on_side_by_side(url):
    with only_run_on(url, 1, [7, 8]), only_run_on(url, 1, [9]):
        assert is_free(url, [10])
        assert not is_free(url, [6, 8])
        assert not is_free(url, None)
        with pytest.raises(RunInProgressError, match=r"job 8 of task 1 on .* \(process \d+ on .* since"):
            only_run_on(url, 1, [8]).__enter__()
    assert is_free(url, None)


@pytest.mark.parametrize(
    ("killed", "heirs", "strangers"), [(None, [None, [7]], []), ([7], [[7, 8], None], [[8]])]
)
def test_whoever_follows_a_run_that_was_killed_hears_of_it(url, killed, heirs, strangers):
    for heir in heirs:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(url=url, jobs=killed)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "held\n"
        assert not is_free(url, killed)
        process.kill()
        process.wait()
        process.stdout.close()
        for stranger in strangers:
            with only_run_on(url, 1, stranger) as lock:
                assert not lock.follows_unsure
        with only_run_on(url, 1, heir) as lock:
            assert lock.follows_unsure
        with only_run_on(url, 1) as lock:
            assert lock.follows_unsure == (killed is None and heir is not None)
