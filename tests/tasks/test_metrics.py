"""Metrics of runs on a real Prefect server, read over HTTP as Prometheus does."""

import re

import httpx
import pytest

from ports import free_port
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.metrics import add_counts, read_counts, serve_metrics
from prefect_cvat.options.execution_options import ExecutionSettings

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _own_files(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


@pytest.fixture
def port(monkeypatch):
    port = free_port()
    monkeypatch.setenv("PREFECT_CVAT_METRICS_PORT", str(port))
    return port


def asked(port):
    """The numbers of our metrics, by name and labels."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        name: float(number) for name, number in re.findall(r"^(prefect_cvat_\S+) (\S+)$", text, re.MULTILINE)
    }


def test_counts_frames_seconds_and_ends_of_runs(credentials, make_task, port):
    task_id = make_task(3)
    annotate_task(task_id, credentials, function=FUNCTION)
    annotate_task(task_id, credentials, function=FUNCTION)
    with pytest.raises(BadFunctionError):
        annotate_task(
            make_task(1),
            credentials,
            function="flow_functions.gone",
            execution=ExecutionSettings(use_cache=False),
        )
    assert serve_metrics({"prefect_cvat_webhooks_waiting": ("Webhooks that wait.", lambda: 7)})
    found = asked(port)
    assert found['prefect_cvat_frames_total{detections="new"}'] == 3
    assert found['prefect_cvat_frames_total{detections="cached"}'] == 3
    assert found['prefect_cvat_runs_total{outcome="completed"}'] == 2
    assert found['prefect_cvat_runs_total{outcome="failed"}'] == 1
    assert found['prefect_cvat_errors_total{error="BadFunctionError"}'] == 1
    assert found['prefect_cvat_stage_seconds_total{stage="detect"}'] > 0
    assert found['prefect_cvat_slot_wait_seconds_total{limit="task"}'] > 0
    assert found["prefect_cvat_webhooks_waiting"] == 7


def test_counts_nothing_by_default(credentials, make_task, tmp_path):
    annotate_task(make_task(1), credentials, function=FUNCTION)
    assert not serve_metrics()
    assert not (tmp_path / "metrics").exists()


def test_file_that_cannot_be_written_is_a_warning(port, tmp_path, caplog):
    (tmp_path / "metrics").write_text("in the way")
    add_counts({("prefect_cvat_runs", "completed"): 1})
    assert "metrics could not be written" in caplog.text
    (tmp_path / "metrics").unlink()
    add_counts({("prefect_cvat_runs", "completed"): 1})
    assert read_counts() == {("prefect_cvat_runs", "completed"): 1}
