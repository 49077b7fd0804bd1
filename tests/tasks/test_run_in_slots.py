"""Slots of a run on a task or on jobs of it, on a real Prefect server."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flow_functions import counted_models
from polling import until
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks import wait_for_device
from prefect_cvat.tasks.prefect_limits import (
    DEFAULT_RUNS_PER_SERVER,
    device_limit,
    job_limit,
    server_limit,
    task_limit,
    wait_for_slots,
)
from prefect_cvat.tasks.run_in_slots import run_in_slots
from prefect_cvat.tasks.wait_for_device import device_slot
from prefect_cvat.tasks.wait_for_task import task_slots

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

URL = "https://slots.example.com"
ON_CPU = CvatFunction(function="flow_functions.one_box")
ON_GPU = CvatFunction(function="flow_functions.on_device", device="cuda:0")


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


@pytest.fixture
def taken(monkeypatch):
    """The names of the limits of each request that takes slots."""
    requests = []
    increment = SyncPrefectClient.increment_concurrency_slots_with_lease

    def noted(self, names, *arguments):
        requests.append([*names])
        return increment(self, names, *arguments)

    monkeypatch.setattr(SyncPrefectClient, "increment_concurrency_slots_with_lease", noted)
    return requests


def run(function, jobs, **options):
    client = SimpleNamespace(url=URL)
    new_run = lambda client, loaded: SimpleNamespace(set_metadata=lambda run, parameters: None)  # noqa: E731
    return run_in_slots(client, 1, function, Options(jobs=jobs), new_run, **options)


def take_all_of_server():
    with ExitStack() as slots:
        limits = {server_limit(URL): DEFAULT_RUNS_PER_SERVER}
        wait_for_slots(slots, limits, occupy=DEFAULT_RUNS_PER_SERVER, timeout=30, warn=print)


def test_run_on_jobs_takes_all_its_slots_at_the_same_time(taken):
    take_all_of_server()  # from now on the limit exists
    taken.clear()
    with run(ON_CPU, (7,)):
        assert taken == [[server_limit(URL), task_limit(URL, 1), job_limit(URL, 7)]]


@pytest.mark.parametrize(
    ("function", "jobs", "first"),
    [(ON_CPU, None, [task_limit(URL, 1)]), (ON_GPU, (7,), [task_limit(URL, 1), job_limit(URL, 7)])],
)
def test_other_runs_take_those_of_the_task_first_and_of_the_server_last(taken, function, jobs, first):
    take_all_of_server()
    taken.clear()
    with run(function, jobs):
        of_device = [device_limit("cuda:0")]
        without_device = [each for each in taken if each != of_device]
        assert without_device == [first, [server_limit(URL)]]
        assert (of_device in taken) == (function is ON_GPU)


def test_shards_leave_the_limit_of_the_task_to_their_flow_run(taken):
    take_all_of_server()
    with task_slots(URL, 1, ()):
        taken.clear()
        for job in (7, 8):
            with run(ON_CPU, (job,), is_shard=True):
                pass
        assert taken == [[server_limit(URL), task_limit(URL, 1), job_limit(URL, job)] for job in (7, 8)]


def test_error_of_a_run_returns_its_slots():
    with pytest.raises(ZeroDivisionError), run(ON_CPU, (7,)):
        _ = 1 / 0
    take_all_of_server()
    with run(ON_CPU, (7,)):
        pass


def test_run_on_jobs_waits_for_a_device_without_a_slot_of_the_server(monkeypatch):
    """Its parameters name no device, and the loaded function says that it uses one."""
    monkeypatch.setattr(wait_for_device, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(counted_models, "DEVICE", "cuda:0")
    counted_models.made = 0
    devices = []

    def begin():
        with run(CvatFunction(function="flow_functions.counted_models"), (7,)) as (_, loaded):
            devices.append(loaded.device)

    with device_slot(["cuda:0"]):
        waiting = threading.Thread(target=begin)
        waiting.start()
        until(lambda: (counted_models.made, counted_models.alive) == (1, 0))
        take_all_of_server()
        assert devices == []
    waiting.join(60)
    assert (devices, counted_models.made, counted_models.alive) == (["cuda:0"], 2, 0)
