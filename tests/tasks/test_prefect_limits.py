"""The limits of runs, on a real Prefect server."""

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.settings import PREFECT_API_URL

from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.tasks import prefect_limits
from prefect_cvat.tasks.prefect_limits import (
    ensure_limit,
    job_limit,
    server_limit,
    server_slot,
    task_limit,
)
from prefect_cvat.tasks.wait_for_task import (
    RUNS_ON_JOBS,
    remove_unused_limits,
    task_slots,
)

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

URL = "https://cvat.example.com:8443"


def slots(name):
    with get_client(sync_client=True) as prefect:
        limit = prefect.read_global_concurrency_limit_by_name(name)
    return limit.active_slots, limit.limit


def names_left():
    with get_client(sync_client=True) as prefect:
        listed = prefect.read_global_concurrency_limits(limit=200, offset=0)
    return {
        limit.name for limit in listed if limit.name.startswith(("prefect-cvat-task", "prefect-cvat-job"))
    }


def test_creates_limit_once_and_changes_it_only_with_overwrite():
    name = server_limit(URL)
    assert name == "prefect-cvat-server-cvat-example-com-8443"
    assert ensure_limit(name, 4) == "created"
    assert ensure_limit(name, 9) == "unchanged"
    assert slots(name)[1] == 4
    assert ensure_limit(name, 2, overwrite=True) == "changed"
    assert ensure_limit(name, 2, overwrite=True) == "unchanged"
    assert slots(name)[1] == 2


def test_run_acquires_and_releases_slots():
    with task_slots(URL, 7), server_slot(URL):
        assert slots(task_limit(URL, 7)) == (RUNS_ON_JOBS, RUNS_ON_JOBS)
        assert slots(server_limit(URL))[0] == 1
    assert slots(server_limit(URL))[0] == 0


def test_run_with_another_spelling_of_the_url_waits():
    with (
        task_slots("http://127.0.0.1:8443", 11),
        pytest.raises(TimeoutError),
        task_slots("https://localhost:8443/api", 11, timeout=0.5),
    ):
        pass


def test_second_run_on_task_waits():
    order = []

    def second():
        with task_slots(URL, 8):
            order.append("second")

    with task_slots(URL, 8):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    with task_slots(URL, 8), pytest.raises(TimeoutError), task_slots(URL, 8, timeout=1):
        pytest.fail("two runs had the task at a time")


# --- no limit outlives its run ---


@pytest.mark.parametrize("jobs", [None, [31, 32, 33]])
def test_run_removes_its_limits(jobs):
    with task_slots(URL, 21, jobs):
        assert task_limit(URL, 21) in names_left()
        assert {job_limit(URL, job) for job in jobs or ()} <= names_left()
    assert not names_left()


def test_failed_or_timed_out_run_removes_its_limits():
    with pytest.raises(ZeroDivisionError), task_slots(URL, 22, [41]):
        _ = 1 / 0
    assert not names_left()
    with task_slots(URL, 22, [41]):
        with pytest.raises(TimeoutError), task_slots(URL, 22, [41, 42], timeout=0.1):
            pytest.fail("two runs had job 41 at a time")
        assert names_left() == {task_limit(URL, 22), job_limit(URL, 41)}
    assert not names_left()


def test_keeps_limit_while_another_run_uses_it():
    with task_slots(URL, 23, [51]):
        with task_slots(URL, 23, [52]):
            pass
        assert names_left() == {task_limit(URL, 23), job_limit(URL, 51)}
        with pytest.raises(TimeoutError), task_slots(URL, 23, timeout=0.1):
            pytest.fail("a run had a task of which another one had a job")
    assert not names_left()


def test_flow_run_has_the_task_between_its_shards():
    with task_slots(URL, 24, ()):
        for job in (61, 62):
            with task_slots(URL, 24, [job], is_shard=True):
                assert names_left() == {task_limit(URL, 24), job_limit(URL, job)}
                assert slots(task_limit(URL, 24)) == (2, RUNS_ON_JOBS)
            assert names_left() == {task_limit(URL, 24)}
            with pytest.raises(TimeoutError), task_slots(URL, 24, timeout=0.1):
                pytest.fail("a run had the task between two shards")
            with task_slots(URL, 24, [63]):  # of another flow run
                pass
    assert not names_left()


def test_shard_that_outlives_its_flow_run_removes_the_limit():
    flow_run = ExitStack()
    flow_run.enter_context(task_slots(URL, 25, ()))

    def work():
        with task_slots(URL, 25, [64], is_shard=True):
            flow_run.close()
            assert task_limit(URL, 25) in names_left()
            raise RunStoppedError("its flow run is Cancelling")

    with pytest.raises(RunStoppedError):
        work()
    assert not names_left()


def test_recreates_limit_removed_before_taking(monkeypatch):
    """Prefect takes the slots of those limits that there are, and says nothing of the others."""
    take = prefect_limits.take_slots
    removed = []

    def remove_then_take(taken, names, **options):
        if not removed:
            removed.append(names[-1])
            with get_client(sync_client=True) as prefect:
                prefect.delete_global_concurrency_limit_by_name(names[-1])
        return take(taken, names, **options)

    monkeypatch.setattr(prefect_limits, "take_slots", remove_then_take)
    with task_slots(URL, 24, [61, 62]):
        assert removed == [job_limit(URL, 62)]
        assert slots(job_limit(URL, 62)) == (1, 1)
        assert slots(task_limit(URL, 24))[0] == 1


def test_concurrent_runs_never_share_a_job():
    at_work, together, done = [], [], []
    lock = threading.Lock()

    def run(jobs):
        for _ in range(4):
            with task_slots(URL, 25, jobs, timeout=120):
                with lock:
                    together.extend(other for other in at_work if other & set(jobs or {1, 2, 3}))
                    at_work.append(mine := set(jobs or {1, 2, 3}))
                time.sleep(0.05)
                with lock:
                    at_work.remove(mine)
                    done.append(jobs)

    runs = [threading.Thread(target=run, args=(jobs,)) for jobs in (None, None, [1, 2], [2, 3], [1], [3])]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join(200)
    assert len(done) == 24
    assert not together
    assert not names_left()


def test_removes_unused_limits_of_killed_run():
    hold = f"""
import os, signal
from prefect_cvat.tasks.wait_for_task import task_slots
with task_slots({URL!r}, 26, [71]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    subprocess.run([sys.executable, "-c", hold], env=environment, timeout=120)
    left = {task_limit(URL, 26), job_limit(URL, 71)}
    assert names_left() == left
    assert remove_unused_limits(older_than=0) == 0  # its lease has not expired yet, so it counts as alive
    with get_client(sync_client=True) as prefect:  # what Prefect does when the lease has expired
        for name in left:
            prefect.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
    assert remove_unused_limits() == 0  # a run may have made them just now
    assert names_left() == left
    assert remove_unused_limits(older_than=0) == 2
    assert not names_left()
    ensure_limit(server_limit(URL), 4)
    assert remove_unused_limits(older_than=0) == 0
    assert ensure_limit(server_limit(URL), 4) == "unchanged"


def test_removes_unused_limits_beside_one_without_slots():
    closed, unused = task_limit(URL, 27), task_limit(URL, 28)
    ensure_limit(closed, 0)
    ensure_limit(unused, 2)
    assert remove_unused_limits(older_than=0) == 1
    assert names_left() == {closed}
    with get_client(sync_client=True) as prefect:
        prefect.delete_global_concurrency_limit_by_name(closed)
