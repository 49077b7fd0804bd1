"""The limits of runs, on a real Prefect server."""

import threading
import time

import pytest
from prefect.client.orchestration import get_client

from prefect_cvat.tasks.limits import (
    RUNS_ON_JOBS,
    ensure_limit,
    server_limit,
    server_slot,
    task_limit,
    task_slots,
)

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

URL = "https://cvat.example.com:8443"


def slots(name):
    with get_client(sync_client=True) as prefect:
        limit = prefect.read_global_concurrency_limit_by_name(name)
    return limit.active_slots, limit.limit


def test_a_limit_is_made_once_and_changed_only_when_that_is_asked_for():
    name = server_limit(URL)
    assert name == "prefect-cvat-server-cvat-example-com-8443"
    assert ensure_limit(name, 4) == "created"
    assert ensure_limit(name, 9) == "unchanged"
    assert slots(name)[1] == 4
    assert ensure_limit(name, 2, overwrite=True) == "changed"
    assert ensure_limit(name, 2, overwrite=True) == "unchanged"
    assert slots(name)[1] == 2


def test_a_run_takes_its_slots_and_gives_them_back():
    with task_slots(URL, 7), server_slot(URL):
        assert slots(task_limit(URL, 7)) == (RUNS_ON_JOBS, RUNS_ON_JOBS)
        assert slots(server_limit(URL))[0] == 1
    assert slots(task_limit(URL, 7))[0] == 0
    assert slots(server_limit(URL))[0] == 0


def test_a_run_by_another_spelling_of_the_address_waits():
    with (
        task_slots("http://127.0.0.1:8443", 11),
        pytest.raises(TimeoutError),
        task_slots("https://localhost:8443/api", 11, timeout=0.5),
    ):
        pass


def test_a_second_run_on_the_same_task_waits():
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
