"""What the keys of runs depend on."""

import json
import os
import sys
import threading
from datetime import UTC, datetime

import pytest
from pydantic_core import to_jsonable_python

from command_line import run_code
from flow_functions import counted_models, on_device
from prefect_cvat.auto_annotation.function_calls import close_function
from prefect_cvat.flows.flow_run_keys import function_key, load_function_key, run_key, shard_key
from prefect_cvat.flows.function_choice import choose_function
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.inference.function_digest.named_files import digests_of_named_files
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks import wait_for_device

MEDIA = datetime(2026, 11, 25, tzinfo=UTC)


def key(function=None, frames=None, execution=None, *, existing="keep", media=MEDIA, task_id=1):
    function = function or CvatFunction(function="nanodet_detection")
    options = Options.of_form(
        function,
        frames or FrameOptions(),
        execution or ExecutionSettings(),
        ExistingOptions(existing=existing),
    )
    version = function_key(function, function.get_function("cpu"))
    return run_key("https://cvat.example.com", task_id, media, version, "annotate", options)


@pytest.mark.parametrize(
    "other",
    [
        {"frames": FrameOptions(jobs=[3, 4])},
        {"execution": ExecutionSettings(frames_per_batch=2, downloads=4, use_cache=False)},
        {"function": CvatFunction(function="nanodet_detection", device="cpu", batch_size=2)},
        {"frames": FrameOptions(frames=[])},
    ],
)
def test_key_ignores_jobs_device_and_batches(other):
    assert key(**other) == key()


@pytest.mark.parametrize(
    "other",
    [
        {"frames": FrameOptions(frames=[1])},
        {"frames": FrameOptions(quality="compressed")},
        {"execution": ExecutionSettings(on_frame_error="skip")},
        {"existing": "replace_auto"},
        {"media": datetime(2026, 11, 26, tzinfo=UTC)},
        {"task_id": 2},
        {"function": CvatFunction(function="nanodet_detection", conf_threshold=0.5)},
        {"function": CvatFunction(function="nanodet_detection", label_map={"car": "Car"})},
    ],
)
def test_key_changes_with_options_that_change_the_result(other):
    assert key(**other) != key()


def test_key_ignores_order_of_label_map():
    maps = [{"car": "Car", "cat": "Cat"}, {"cat": "Cat", "car": "Car"}]
    one, other = (key(CvatFunction(function="nanodet_detection", label_map=labels)) for labels in maps)
    assert one == other


def test_key_is_the_same_after_parameters_pass_through_json():
    frames, execution = FrameOptions(jobs=[5, 3]), ExecutionSettings(downloads=2)
    sent = json.loads(json.dumps(to_jsonable_python({"frames": frames, "execution": execution})))
    received = key(
        choose_function(None, "nanodet_detection"),
        FrameOptions(**sent["frames"]),
        ExecutionSettings(**sent["execution"]),
        existing="keep",
    )
    assert received == key(frames=frames, execution=execution)
    assert shard_key(received, [3, 5]) == shard_key(received, (5, 3)) != shard_key(received, None)


def test_function_key_does_not_change_with_use(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    function = CvatFunction(function="flow_functions.on_device")
    loaded = function.get_function("cuda:1")
    before = function_key(function, loaded)
    loaded.close()
    assert function_key(function, loaded) == before
    assert function_key(function, function.get_function("cuda:0")) == before


@pytest.fixture
def helped(tmp_path, monkeypatch):
    """A function by its name, and the module that it needs."""
    (tmp_path / "helped_function.py").write_text(
        "import helped_by\nfrom flow_functions.one_box import spec\n"
        "def detect(context, image): return helped_by.find(image)\n"
    )
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "helped_function")
    return tmp_path


def version_in_a_process_of_its_own(folder):
    code = (
        "from prefect_cvat.flows.flow_run_keys import function_key\n"
        "from prefect_cvat.function_block import CvatFunction\n"
        "function = CvatFunction(function='helped_function')\n"
        "print(function_key(function, function.get_function(), warn=print))"
    )
    path = os.pathsep.join((str(folder), *sys.path))
    done = run_code(code, imported=("prefect.flows", "torch"), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_function_key_changes_with_edited_helper_module(helped):
    (helped / "helped_by.py").write_text("def find(image): return []\n")
    first = version_in_a_process_of_its_own(helped)
    assert version_in_a_process_of_its_own(helped) == first
    assert len(first) == 1
    (helped / "helped_by.py").write_text("def find(image): return list()\n")
    assert version_in_a_process_of_its_own(helped) != first


def test_function_key_is_random_if_code_cannot_be_determined(helped):
    (helped / "helped_by.py").write_text("def find(image): return eval('[]')\n")
    (why, first), (_, second) = (version_in_a_process_of_its_own(helped) for _ in range(2))
    assert first != second
    assert why.startswith("function helped_function has no `version`, and reaches code that is chosen only")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("sam3_detection", {"model": "str:{}"}),
        ("open_vocabulary_detection", {"model": "str:{}", "device": "str:cpu"}),
        ("tiled", {"function": "str:sam3_detection", "model": "str:{}"}),
        ("ensemble", {"a": "str:sam3_detection", "b": "str:open_vocabulary_detection", "a.model": "str:{}"}),
    ],
)
def test_function_key_changes_with_weights_of_a_function_that_is_made_for_a_task(tmp_path, name, parameters):
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    function = CvatFunction(
        function=name,
        function_parameters={name: value.format(folder) for name, value in parameters.items()},
    )
    loaded = function.get_function()
    keys = []
    for place, content in (("a.bin", b"one"), ("a.bin", b"two"), ("onnx/b.bin", b"one"), ("a.bin", b"one")):
        (folder / place).write_bytes(content)
        keys += [function_key(function, loaded)]
    assert len(set(keys)) == 4
    os.utime(folder / "a.bin", (0, 0))
    assert function_key(function, loaded) == keys[-1]  # such as of a copy on another machine
    (folder / "b.bin").symlink_to(folder / "a.bin")  # as in the cache of the Hub
    assert function_key(function, loaded) not in keys


def test_files_that_are_named_within_parameters(tmp_path):
    weights = tmp_path / "a.bin"
    weights.write_bytes(b"one")
    nested = {"functions": [{"name": "sam3_detection", "model": str(weights)}, 7, "x" * 5000, "\0", ""]}
    [line] = digests_of_named_files(nested)
    assert line.startswith(". ")
    assert digests_of_named_files({"model": "facebook/sam3"}) == []


def test_caches_labels_and_the_present_folder_are_no_files_of_a_function(tmp_path, monkeypatch):
    (tmp_path / "car").mkdir()
    (tmp_path / "car" / "a.bin").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    others = {
        "cache_dir": str(tmp_path),
        "task_labels": ["car"],
        "a.device": "car",
        "b": ".",
        "c": "/dev/null",
    }
    assert digests_of_named_files(others) == []
    assert len(digests_of_named_files({"model": "car"})) == 1


@pytest.mark.parametrize("name", ["labels", "prompts", "task_labels", "a.labels"])
def test_file_of_labels_counts_and_a_folder_with_the_name_of_one_does_not(tmp_path, monkeypatch, name):
    (tmp_path / "car").mkdir()
    (tmp_path / "car" / "a.bin").write_bytes(b"one")
    words = tmp_path / "words.txt"
    words.write_text("car")
    monkeypatch.chdir(tmp_path)
    assert digests_of_named_files({name: ["car", {"car": "car"}]}) == []
    [before] = digests_of_named_files({name: str(words)})
    words.write_text("lorry")
    [after] = digests_of_named_files({name: str(words)})
    assert before != after


def test_linked_folders_in_a_folder_count(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(b"one")
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").symlink_to(tmp_path / "weights")
    (model / "again").symlink_to(model)
    loop, line = digests_of_named_files({"model": str(model)})
    assert loop == "again/ is ./"
    assert line.startswith("weights/a.bin ")


def test_both_names_of_a_folder_count_in_whatever_order_they_were_made(tmp_path):
    def folder(names):
        made = tmp_path / "-".join(names)
        made.mkdir()
        for name in names:
            (made / name).symlink_to(tmp_path / "weights")
        return digests_of_named_files({"model": str(made)})

    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "x.bin").write_bytes(b"one")
    both, reverse, one = folder(["a", "b"]), folder(["b", "a"]), folder(["a"])
    assert both == reverse
    assert both == [*one, "b/ is a/"]


def test_each_folder_is_read_once_however_many_names_lead_to_it(tmp_path):
    for number in range(20):  # 2 ** 20 names
        (tmp_path / f"{number}").mkdir()
        for name in "ab":
            (tmp_path / f"{number}" / name).symlink_to(tmp_path / f"{number + 1}")
    (tmp_path / "20").mkdir()
    (tmp_path / "20" / "x.bin").write_bytes(b"one")
    assert len(digests_of_named_files({"model": str(tmp_path / "0")})) == 21


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("counted_models", {}),  # it has chosen a GPU by itself
        ("on_device", {"device": "str:cuda:0"}),
        ("words_on_device", {}),
        ("tiled", {"function": "str:flow_functions.words_on_device"}),
        ("tiled", {"function": "str:flow_functions.on_device", "device": "str:cuda:0"}),
    ],
)
def test_key_is_computed_while_another_run_uses_the_gpu(monkeypatch, name, parameters):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(counted_models, "DEVICE", "cuda:0")
    monkeypatch.setattr(wait_for_device, "local_devices", lambda: ["cuda:0"])
    full_name = name if name == "tiled" else f"flow_functions.{name}"
    function = CvatFunction(function=full_name, function_parameters=parameters)
    alive = counted_models.alive
    keys = []
    with wait_for_device.device_slot(["cuda:0"]):
        finding = threading.Thread(
            target=lambda: keys.append(load_function_key(function, "https://gpu.example.com")), daemon=True
        )
        finding.start()
        finding.join(20)
        assert len(keys) == 1
    assert counted_models.alive == alive
    loaded = function.get_function()
    assert keys == [(function_key(function, loaded), "words" in str(function))]
    close_function(loaded)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("name", "parameters", "device"),
    [
        ("ensemble", {"a": "str:flow_functions.on_device", "a.device": "str:cuda:0"}, None),
        ("ensemble", {"a": "str:flow_functions.on_device", "a.device": "str:cuda:0"}, "cuda:0"),
        ("tiled", {"function": "str:flow_functions.on_device"}, None),
        ("tiled", {"function": "str:flow_functions.on_device", "device": "str:cuda:0"}, None),
        ("flow_functions.on_device", {}, "cuda:0"),
        ("flow_functions.with_options", {"options": 'json:{"device": "cuda:0"}'}, None),
    ],
)
def test_key_is_computed_on_the_cpu(monkeypatch, name, parameters, device):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    devices = []
    function_class = on_device._Function
    monkeypatch.setattr(
        on_device, "_Function", lambda device: devices.append(device) or function_class(device)
    )
    monkeypatch.setattr(on_device.create, "__defaults__", ("auto",))
    others = {"b": "str:flow_functions.one_box"} if name == "ensemble" else {}
    function = CvatFunction(function=name, function_parameters={**parameters, **others}, device=device)
    load_function_key(function, "https://gpu.example.com")
    assert devices == ["cpu"]


@pytest.mark.usefixtures("prefect_server")
def test_key_of_a_function_that_cannot_be_on_the_cpu(monkeypatch):
    """Such as `onnx_detection` with `providers="cuda"`."""
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(on_device.create, "__defaults__", ("auto",))
    function_class = on_device._Function
    devices = []

    def on_gpu(device):
        devices.append(device)
        if device == "cpu":
            raise ValueError("providers cuda do not use device 'cpu'; leave one of the two out")
        return function_class(device)

    monkeypatch.setattr(on_device, "_Function", on_gpu)
    key, _ = load_function_key(CvatFunction(function="flow_functions.on_device"), "https://gpu.example.com")
    assert (devices, len(key)) == (["cpu", "auto"], 16)
