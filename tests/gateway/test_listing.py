"""The list of functions: made without models, kept on disk, and of valid records only."""

import json

import pytest

from gateway_functions import Detection
from polling import until
from prefect_cvat.gateway import GatewayConfiguration, ServedFunction
from prefect_cvat.gateway.description_store import DescriptionStore
from prefect_cvat.gateway.function_source import source_digest

LOADED = """
import pathlib, os
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
with pathlib.Path({log!r}).open("a") as log:
    log.write(str(os.getpid()) + "\\n")
class Function:
    spec = DetectionFunctionSpec(labels=[label_spec({label!r}, 1)])
    def detect(self, context, image):
        return [rectangle(1, [1, 2, 3, 4])]
def create({parameters}):
    return Function()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "cache"))


def write(folder, name="mine", label="car", parameters=""):
    log = folder / f"{name}.log"
    (folder / f"{name}.py").write_text(LOADED.format(log=str(log), label=label, parameters=parameters))
    return log


def configuration(*entries, **options):
    return GatewayConfiguration(port=0, functions=[ServedFunction(**entry) for entry in entries], **options)


def labels_of(calls, name):
    spec = calls.function(name).json()["metadata"]["annotations"]["spec"]
    return [label["name"] for label in json.loads(spec)]


def test_listing_loads_no_function(serve, tmp_path):
    import os

    log = write(tmp_path)
    entry = {"function_file": tmp_path / "mine.py"}
    first = serve(configuration(entry))
    assert first.gateway.wait_until_described(60)
    (describer,) = log.read_text().split()
    assert describer != str(os.getpid())
    second = serve(configuration(entry))  # the description is on disk now
    assert list(second.functions().json()) == ["mine"]
    assert labels_of(second, "mine") == ["car"]
    assert log.read_text().split() == [describer]
    assert second.from_page("mine")
    assert log.read_text().split() == [describer, str(os.getpid())]
    second.from_page("mine")
    assert len(log.read_text().split()) == 2


def test_preload_loads_at_the_start(serve, tmp_path):
    import os

    log = write(tmp_path)
    serve(configuration({"function_file": tmp_path / "mine.py"}, preload=True))
    until(lambda: log.exists() and str(os.getpid()) in log.read_text(), seconds=60)


def test_function_that_is_not_described_yet(serve, tmp_path):
    write(tmp_path)
    (tmp_path / "mine.py").write_text("import time\ntime.sleep(3)\n" + (tmp_path / "mine.py").read_text())
    calls = serve(configuration({"function_file": tmp_path / "mine.py"}))
    assert calls.functions().json() == {}
    assert calls.refused("mine") == (503, "mine is being read for the first time: try again in a moment")
    assert calls.gateway.wait_until_described(60)
    assert list(calls.functions().json()) == ["mine"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no weights')", "no weights"),
        ("import os\nos._exit(3)", "ended its process, with status 3"),
        ("spec = 3", "not a detection function"),
        ("x = 1", "neither a 'spec' nor a 'create'"),
    ],
)
def test_invalid_function_does_not_spoil_the_list(serve, tmp_path, code, reason, caplog):
    (tmp_path / "bad.py").write_text(code)
    write(tmp_path)
    files = [{"function_file": tmp_path / f"{name}.py"} for name in ("bad", "mine")]
    calls = serve(configuration(*files))
    assert calls.gateway.wait_until_described(60)
    assert list(calls.functions().json()) == ["mine"]
    status, said = calls.refused("bad")
    assert status == 500
    assert reason in said
    assert str(tmp_path / "bad.py") + ", line" not in said
    assert "bad is not served" in caplog.text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"label_map": {"cars": "x"}},
            "label_map names label 'cars', which the function does not have; did you",
        ),
        ({"label_thresholds": {"dog": 0.5}}, "label_thresholds names label 'dog'"),
    ],
)
def test_label_that_the_function_does_not_have(serve, tmp_path, fields, reason):
    write(tmp_path)
    calls = serve(configuration({"function_file": tmp_path / "mine.py", **fields}))
    assert calls.gateway.wait_until_described(60)
    assert reason in calls.refused("mine")[1]


def test_changed_code_is_described_again(serve, tmp_path):
    write(tmp_path)
    entry = {"function_file": tmp_path / "mine.py"}
    calls = serve(configuration(entry))
    assert calls.gateway.wait_until_described(60)
    assert calls.from_page("mine")
    write(tmp_path, label="lorry")
    calls.gateway.reload(configuration(entry))
    assert calls.gateway.wait_until_described(60)
    assert labels_of(calls, "mine") == ["lorry"]
    assert calls.from_page("mine")[0]["label"] == "lorry"


def test_labels_that_come_from_elsewhere_are_listed_as_loaded(serve, tmp_path):
    (tmp_path / "labels.txt").write_text("car")
    write(tmp_path)
    code = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(
        code.replace(
            "label_spec('car', 1)",
            f"label_spec(pathlib.Path({str(tmp_path / 'labels.txt')!r}).read_text(), 1)",
        )
    )
    entry = {"function_file": tmp_path / "mine.py"}
    calls = serve(configuration(entry))
    assert calls.gateway.wait_until_described(60)
    (tmp_path / "labels.txt").write_text("lorry")
    calls.gateway.reload(configuration(entry))  # the code is the same
    assert labels_of(calls, "mine") == ["car"]
    assert calls.from_page("mine")[0]["label"] == "lorry"
    assert labels_of(calls, "mine") == ["lorry"]
    assert "lorry" in calls.functions().text
    assert labels_of(serve(configuration(entry)), "mine") == ["lorry"]


def test_secret_without_a_prefect_server_is_a_reason(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    write(tmp_path, parameters="key=None")
    entry = {"function_file": tmp_path / "mine.py", "function_parameters": {"key": "secret:a-block"}}
    calls = serve(configuration(entry))
    assert calls.gateway.wait_until_described(60)
    status, reason = calls.refused("mine")
    assert status == 500
    assert "the Prefect server at http://127.0.0.1:9/api does not answer" in reason


def test_description_on_disk_that_is_damaged_is_made_again(serve, tmp_path):
    write(tmp_path)
    entry = ServedFunction(function_file=tmp_path / "mine.py")
    store = DescriptionStore()
    description = store.make(entry)
    digest = source_digest(entry)
    (tmp_path / "cache" / "gateway" / digest[:2] / digest).write_text('{"kind": "detec')
    assert store.known(digest) is None
    calls = serve(configuration({"function_file": tmp_path / "mine.py"}))
    assert calls.gateway.wait_until_described(60)
    assert store.known(digest) == description


def test_digest_changes_with_code_parameters_and_files(tmp_path):
    write(tmp_path, parameters="model, n")
    model = tmp_path / "model.onnx"
    model.write_bytes(b"1")
    fields = {"function_file": tmp_path / "mine.py", "function_parameters": {"model": f"str:{model}", "n": 1}}
    digests = [source_digest(ServedFunction(**fields))]
    model.write_bytes(b"22")
    digests.append(source_digest(ServedFunction(**fields)))
    write(tmp_path, label="lorry", parameters="model, n")
    digests.append(source_digest(ServedFunction(**fields)))
    digests.append(source_digest(ServedFunction(**{**fields, "function_parameters": {"n": 2}})))
    digests.append(source_digest(ServedFunction(**fields, device="cpu")))
    assert len(set(digests)) == 5
    assert source_digest(ServedFunction(**fields, title="x")) == digests[2]


def test_thousand_functions_are_listed(serve):
    calls = serve(**{f"det{number}": Detection() for number in range(1000)})
    assert len(calls.functions().json()) == 1000
