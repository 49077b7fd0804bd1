"""Runs and the devices of a machine, on a real Prefect server. The devices themselves cannot be had here."""

import json
import threading
from contextlib import ExitStack

import pytest

from flow_functions import counted_models, on_device
from polling import until
from prefect_cvat.auto_annotation import TaskLabel
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.tasks import prefect_limits, wait_for_device
from prefect_cvat.tasks.prefect_limits import DEFAULT_RUNS_PER_SERVER, server_limit, wait_for_slots
from prefect_cvat.tasks.wait_for_device import device_slot, loaded_function
from prefect_cvat.tasks.wait_for_task import task_slots

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

URL = "https://gpu.example.com"


def test_one_run_at_a_time_on_a_device():
    with device_slot(["cuda:0", "cuda:1"]) as first:
        with device_slot(["cuda:0", "cuda:1"]) as second:
            assert (first, second) == ("cuda:0", "cuda:1")
            with pytest.raises(TimeoutError, match="none of the devices cuda:0, cuda:1"):
                device_slot(["cuda:0", "cuda:1"], timeout=0).__enter__()
        with device_slot(["cuda:0", "cuda:1"]) as third:
            assert third == "cuda:1"


def test_workers_with_different_visible_gpus_do_not_wait(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    with device_slot(["cuda:0"], timeout=0):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f6a")
        with device_slot(["cuda:0"], timeout=0), device_slot(["cuda:1"], timeout=0):
            pass
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with pytest.raises(TimeoutError):
            device_slot(["cuda:2"], timeout=0).__enter__()
        with device_slot(["cuda:0"], timeout=0):
            pass


def test_loads_function_on_free_device_and_closes_it(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0", "cuda:1"])
    chosen = CvatFunction(function="flow_functions.on_device")
    with device_slot(["cuda:0"]):
        with loaded_function(chosen, URL) as function:
            assert (function.device, function.is_closed) == ("cuda:1", False)
        assert function.is_closed
        explicit = chosen.model_copy(update={"device": "cpu"})
        with loaded_function(explicit, URL) as function:
            assert function.device == "cpu"


def test_runs_on_different_jobs_share_a_task():
    with task_slots(URL, 1, [1, 2]):
        with task_slots(URL, 1, [3]), pytest.raises(TimeoutError), task_slots(URL, 1, [2, 4], timeout=1):
            pytest.fail("two runs had a job at a time")
        with pytest.raises(TimeoutError), task_slots(URL, 1, timeout=1):
            pytest.fail("a run had the task while another had jobs of it")
    with task_slots(URL, 1, timeout=30):
        pass


def test_concurrent_runs_create_limits_once():
    errors = []

    def begin(job):
        try:
            with task_slots(URL, 2, [job], timeout=60):
                pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(job,)) for job in (1, 1, 2, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_waiting_for_device_holds_no_model_and_no_server_slot(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(counted_models, "DEVICE", "cuda:0")
    function = CvatFunction(function="flow_functions.counted_models")
    loaded_on = []

    def load():
        with loaded_function(function, URL) as loaded:
            loaded_on.append(loaded.device)

    counted_models.made = 0
    with device_slot(["cuda:0"]):
        waiting = threading.Thread(target=load)
        waiting.start()
        until(lambda: (counted_models.made, counted_models.alive) == (1, 0))
        with ExitStack() as taken:
            all_slots = {server_limit(URL): DEFAULT_RUNS_PER_SERVER}
            wait_for_slots(taken, all_slots, occupy=DEFAULT_RUNS_PER_SERVER, timeout=30, warn=print)
            assert loaded_on == []
    waiting.join(60)
    assert (loaded_on, counted_models.made, counted_models.alive) == (["cuda:0"], 2, 0)


@pytest.mark.parametrize("chosen", [{"device": "auto"}, {"function_parameters": {"device": "str:auto"}}])
def test_auto_device_is_any_free_device(monkeypatch, chosen):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:5"])
    function = CvatFunction(function="flow_functions.on_device", **chosen)
    with loaded_function(function, URL) as loaded:
        assert loaded.device == "cuda:5"


def test_keeps_device_of_function_parameters(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0", "cuda:1"])
    parameters = {"device": "str:cuda:1"}
    function = CvatFunction(function="flow_functions.on_device", function_parameters=parameters)
    with loaded_function(function, URL) as loaded:
        assert loaded.device == "cuda:1"


@pytest.mark.parametrize(
    ("name", "parameters", "device"),
    [
        ("tiled", {"function": "str:flow_functions.words_on_device"}, "cuda:1"),
        ("flow_functions.words_on_device", {}, "cuda:1"),
        ("flow_functions.tiled_words", {}, "cuda:1"),
        (
            "ensemble",
            {"a": "str:flow_functions.tiled_words", "b": "str:flow_functions.tiled_words"},
            "cuda:1",
        ),
        ("tiled", {"function": "str:flow_functions.words_on_device", "device": "str:cpu"}, "cpu"),
    ],
)
def test_function_that_waits_for_labels_has_a_device_before_it_is_made(monkeypatch, name, parameters, device):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0", "cuda:1"])
    function = CvatFunction(function=name, function_parameters=parameters)
    with device_slot(["cuda:0"]), loaded_function(function, URL) as loaded:
        assert loaded.make([TaskLabel("car", "any")]).device == device
        if device == "cpu":
            with device_slot(["cuda:1"], timeout=0):
                pass
        else:
            with pytest.raises(TimeoutError):
                device_slot(["cuda:1"], timeout=0).__enter__()


def test_function_on_a_device_that_was_chosen_after_loading_is_closed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0"])
    with loaded_function(CvatFunction(function="flow_functions.tiled_words"), URL) as loaded:
        words = loaded.make([TaskLabel("car", "any")]).function
        assert (words.device, words.is_closed) == ("cuda:0", False)
    assert words.is_closed


WORDS = "str:flow_functions.words_on_device"
WORDS_OF_SERVICE = "str:flow_functions.words_of_service"  # takes no device
ON_DEVICE = "str:flow_functions.on_device"
COUNTED = "str:flow_functions.counted_models"  # takes no device, and uses counted_models.DEVICE
CPU = "str:cpu"


@pytest.mark.parametrize(
    ("parameters", "takes_slot"),
    [
        ({"a": WORDS, "b": WORDS, "a.device": CPU, "b.device": CPU}, False),
        ({"a": WORDS, "b": "str:flow_functions.on_device", "a.device": CPU, "b.device": CPU}, False),
        ({"a": WORDS, "b": "str:flow_functions.one_box", "a.device": CPU}, False),
        ({"a": WORDS, "b": "str:tiled", "b.function": WORDS, "a.device": CPU, "b.device": CPU}, False),
        ({"a": COUNTED, "b": COUNTED}, False),
        ({"a": WORDS_OF_SERVICE, "b": ON_DEVICE, "b.device": CPU}, False),
        ({"a": WORDS, "b": WORDS, "a.device": CPU}, True),
        ({"a": WORDS, "b": WORDS, "a.device": CPU, "b.device": "str:auto"}, True),
        ({"functions": f"json:[{json.dumps(WORDS[4:])}]", "a": WORDS, "a.device": CPU}, True),
    ],
)
def test_functions_that_are_all_on_the_cpu_take_no_slot(monkeypatch, parameters, takes_slot):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:5"])
    function = CvatFunction(function="ensemble", function_parameters=parameters)
    with loaded_function(function, URL):
        if takes_slot:
            with pytest.raises(TimeoutError):
                device_slot(["cuda:5"], timeout=0).__enter__()
        else:
            device_slot(["cuda:5"], timeout=0).__enter__()


def test_device_that_was_given_to_a_function_for_a_task_is_the_only_one_it_needs(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0", "cuda:1"])
    for device, needed in [("cpu", [[]]), ("cuda", [["cuda:0"]]), ("auto", [["cuda:0"], ["cuda:1"]])]:
        given = load_function("flow_functions.words_on_device", {"device": device})
        assert wait_for_device._choices(wait_for_device._devices_of(given)) == needed


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("flow_functions.words_of_service", {}), ("ensemble", {"a": COUNTED, "b": COUNTED})],
)
def test_functions_without_a_device_wait_for_none(monkeypatch, name, parameters):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0"])
    function = CvatFunction(function=name, function_parameters=parameters)
    loaded_once = threading.Event()

    def load():
        with loaded_function(function, URL):
            loaded_once.set()

    with device_slot(["cuda:0"]):
        threading.Thread(target=load, daemon=True).start()
        assert loaded_once.wait(20)


def test_slot_that_no_function_uses_is_returned(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:5"])
    function_class = on_device._Function
    function = CvatFunction(function="flow_functions.on_device")
    for says, is_returned in [("cpu", True), ("cuda:5", False), (None, False)]:
        monkeypatch.setattr(on_device, "_Function", lambda _, says=says: function_class(says))
        with loaded_function(function, URL):
            assert is_free("cuda:5") == is_returned


@pytest.mark.parametrize(
    ("says", "name"),
    [("mps:0", "mps"), ("mps", "mps"), ("cuda", "cuda:0"), ("xpu", "xpu:0"), ("xpu:0", "xpu:0")],
)
def test_both_names_of_a_device_are_one_limit(monkeypatch, says, name):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(counted_models, "DEVICE", says)
    with loaded_function(CvatFunction(function="flow_functions.counted_models"), URL):
        assert not is_free(name)


@pytest.mark.parametrize(
    ("name", "parameters", "slots_of"),
    [
        ("ensemble", {"a": ON_DEVICE, "a.device": CPU, "b": COUNTED}, {0}),
        ("ensemble", {"a": ON_DEVICE, "device": CPU, "b": COUNTED}, {0}),
        ("ensemble", {"a": WORDS, "a.device": CPU, "b": COUNTED}, {0}),
        ("ensemble", {"a": ON_DEVICE, "a.device": "str:cuda:1", "b": COUNTED}, {0, 1}),
        ("tiled", {"function": "str:ensemble", "a": ON_DEVICE, "a.device": CPU, "b": COUNTED}, {0}),
        (
            "ensemble",
            {"a": ON_DEVICE, "b": ON_DEVICE, "a.device": "str:cuda:1", "b.device": "str:cuda:1"},
            {1},
        ),
        (
            "ensemble",
            {"a": ON_DEVICE, "b": ON_DEVICE, "a.device": "str:cuda:1", "b.device": "str:cuda"},
            {0, 1},
        ),
        ("ensemble", {"a": ON_DEVICE, "b": WORDS, "a.device": "str:cuda:1"}, {1}),
        ("ensemble", {"a": ON_DEVICE, "b": ON_DEVICE, "a.device": CPU}, {0}),
        ("tiled", {"function": ON_DEVICE}, {0}),
        ("tiled", {"function": ON_DEVICE, "device": "str:cuda:1"}, {1}),
        ("flow_functions.with_options", {"options": 'json:{"device": "cuda:1"}'}, {1}),
        ("transformers_pose", {"detector_options": 'json:{"device": "cuda:1"}'}, {1}),
        ("transformers_pose", {"detector_options": 'json:{"device": "cuda:1"}', "device": CPU}, {1}),
        ("transformers_pose", {"labels": 'json:{"device": "phone"}', "device": CPU}, set()),
    ],
)
def test_slots_are_those_of_the_devices_that_the_functions_use(monkeypatch, name, parameters, slots_of):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(counted_models, "DEVICE", "cuda:0")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0", "cuda:1"])
    function = CvatFunction(function=name, function_parameters=parameters)
    with loaded_function(function, URL):
        assert {number for number in (0, 1) if not is_free(f"cuda:{number}")} == slots_of
    assert is_free("cuda:0")
    assert is_free("cuda:1")


def test_slots_of_several_devices_are_taken_together(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(counted_models, "DEVICE", "cuda:0")
    monkeypatch.setattr(counted_models, "made", 0)
    parameters = {"a": ON_DEVICE, "a.device": "str:cuda:1", "b": COUNTED}
    function = CvatFunction(function="ensemble", function_parameters=parameters)
    loaded_once = threading.Event()

    def load():
        with loaded_function(function, URL):
            loaded_once.set()

    with device_slot(["cuda:0"]):
        waiting = threading.Thread(target=load)
        waiting.start()
        until(lambda: (counted_models.made, counted_models.alive) == (1, 0))
        until(lambda: is_free("cuda:1"))  # it is not kept by a run that waits for the other one
        assert not loaded_once.is_set()
    waiting.join(60)
    assert (loaded_once.is_set(), counted_models.made, counted_models.alive) == (True, 2, 0)


def test_device_that_was_not_chosen_is_not_waited_for_again(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(wait_for_device, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(counted_models, "DEVICE", "cuda:0")
    monkeypatch.setattr(counted_models, "made", 0)
    function = CvatFunction(function="ensemble", function_parameters={"a": ON_DEVICE, "b": COUNTED})
    found = []

    def load():
        with loaded_function(function, URL) as loaded:
            found.append((loaded.device, is_free("cuda:0"), is_free("cuda:1")))

    with device_slot(["cuda:0"]):
        waiting = threading.Thread(target=load)
        waiting.start()
        until(lambda: (counted_models.made, counted_models.alive) == (1, 0))  # a was on cuda:1
    waiting.join(60)
    assert found == [("cuda:0", False, True)]


def is_free(device):
    try:
        with device_slot([device], timeout=0):
            return True
    except TimeoutError:
        return False


def test_waiting_run_logs_the_limit(monkeypatch):
    monkeypatch.setattr(prefect_limits, "SECONDS_BETWEEN_WARNINGS", 0.5)
    warnings = []
    with task_slots(URL, 3), pytest.raises(TimeoutError), task_slots(URL, 3, timeout=6, warn=warnings.append):
        pytest.fail("two runs had the task at a time")
    assert "waiting for a slot of the limit prefect-cvat-task-gpu-example-com-3" in warnings[0]
    assert "prefect gcl update prefect-cvat-task-gpu-example-com-3 --active-slots 0" in warnings[0]


def test_waiting_run_logs_the_limit_that_has_no_free_slot(monkeypatch):
    monkeypatch.setattr(prefect_limits, "SECONDS_BETWEEN_WARNINGS", 0.5)
    warnings = []
    with (
        task_slots(URL, 4, [12]),
        pytest.raises(TimeoutError),
        task_slots(URL, 4, [11, 12], timeout=6, warn=warnings.append),
    ):
        pytest.fail("two runs had job 12 at a time")
    assert "waiting for a slot of the limit prefect-cvat-job-gpu-example-com-12; if" in warnings[0]
