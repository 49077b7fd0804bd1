"""Runs and the devices of a machine, on a real Prefect server. The devices themselves cannot be had here."""

import threading

import pytest

from prefect_cvat.function_block import CvatFunction
from prefect_cvat.tasks import devices
from prefect_cvat.tasks.devices import device_slot, loaded_function
from prefect_cvat.tasks.limits import run_slots

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

URL = "https://gpu.example.com"


def test_each_run_has_a_device_of_its_own():
    with device_slot(["cuda:0", "cuda:1"]) as first:
        with device_slot(["cuda:0", "cuda:1"]) as second:
            assert (first, second) == ("cuda:0", "cuda:1")
            with pytest.raises(TimeoutError, match="none of the devices cuda:0, cuda:1"):
                device_slot(["cuda:0", "cuda:1"], timeout=0).__enter__()
        with device_slot(["cuda:0", "cuda:1"]) as third:
            assert third == "cuda:1"


def test_a_function_is_loaded_on_a_free_device_and_closed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(devices, "local_devices", lambda: ["cuda:0", "cuda:1"])
    chosen = CvatFunction(function="flow_functions.on_device")
    with device_slot(["cuda:0"]):
        with loaded_function(chosen) as function:
            assert (function.device, function.is_closed) == ("cuda:1", False)
        assert function.is_closed
        explicit = chosen.model_copy(update={"device": "cpu"})
        with loaded_function(explicit) as function:
            assert function.device == "cpu"


def test_runs_that_were_given_jobs_share_a_task():
    with run_slots(URL, 1, [1, 2]):
        with run_slots(URL, 1, [3]), pytest.raises(TimeoutError), run_slots(URL, 1, [2, 4], timeout=1):
            pytest.fail("two runs had a job at a time")
        with pytest.raises(TimeoutError), run_slots(URL, 1, timeout=1):
            pytest.fail("a run had the task while another had jobs of it")
    with run_slots(URL, 1, timeout=30):
        pass


def test_limits_that_many_make_at_the_same_time_are_made_once():
    errors = []

    def begin(job):
        try:
            with run_slots(URL, 2, [job], timeout=60):
                pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(job,)) for job in (1, 1, 2, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
