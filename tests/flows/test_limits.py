"""The limits of runs, on a real Prefect server."""

import threading
import time

import pytest
from prefect.client.orchestration import get_client

from prefect_cvat.deployments.setup import set_up_limits
from prefect_cvat.tasks.limits import device_limit, ensure_limit, run_slots, server_limit, task_limit

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

URL = "https://cvat.example.com:8443"


def slots(name):
    with get_client(sync_client=True) as prefect:
        limit = prefect.read_global_concurrency_limit_by_name(name)
    return limit.active_slots, limit.limit


def test_setup_makes_limits_and_says_so_and_changes_only_what_differs():
    name = server_limit(URL)
    assert name == "prefect-cvat-server-cvat-example-com-8443"
    assert set_up_limits(URL, devices=["cuda:0"]) == [
        f"limit {name}: 4 at a time (created)",
        f"limit {device_limit('cuda:0')}: 1 at a time (created)",
    ]
    assert set_up_limits(URL, runs_per_server=2, devices=["cuda:0"]) == [
        f"limit {name}: 2 at a time (changed)",
        f"limit {device_limit('cuda:0')}: 1 at a time (unchanged)",
    ]
    assert ensure_limit(name, 9) == "unchanged"
    assert slots(name)[1] == 2


def test_a_run_takes_its_slots_and_gives_them_back():
    with run_slots(URL, 7, "cuda:1"):
        assert slots(task_limit(URL, 7)) == (1, 1)
        assert slots(server_limit(URL))[0] == 1
        assert slots(device_limit("cuda:1")) == (1, 1)
    assert slots(task_limit(URL, 7)) == (0, 1)


def test_a_second_run_on_the_same_task_waits():
    order = []

    def second():
        with run_slots(URL, 8, "cpu"):
            order.append("second")

    with run_slots(URL, 8, "cpu"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    with run_slots(URL, 8, None), pytest.raises(TimeoutError), run_slots(URL, 8, None, timeout=1):
        pytest.fail("two runs had the task at a time")
