"""The progress of a run, as an artifact of a real Prefect server, which may fail or be slow."""

import threading
import time
from datetime import UTC, datetime
from itertools import pairwise

import httpx
import pytest
from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from artifact_runs import all_that_is_logged, artifacts_of, cars, run_flow
from polling import until
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks import artifacts
from prefect_cvat.tasks.artifacts import ArtifactProgress
from prefect_proxy import prefect_proxy

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

ANY = float("inf")
"""A share of time that all updates are within."""


def test_progress_is_updated_during_the_run(client, make_task, monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0.2)
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    task_id = make_task(6, chunk_size=1)
    key = f"progress-task-{task_id}"
    values = []
    is_over = threading.Event()
    api = PREFECT_API_URL.value()

    def watch():
        with httpx.Client() as http:
            while not is_over.wait(0.1):
                body = {"artifacts": {"key": {"any_": [key]}}}
                values.extend(
                    found["data"] for found in http.post(f"{api}/artifacts/filter", json=body).json()
                )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run_flow(client, task_id, cars(lambda context: time.sleep(0.6)))
    finally:
        is_over.set()
        watcher.join()
    assert values == sorted(values)
    assert values[0] == 0
    assert len({value for value in values if 0 < value < 100}) >= 3


def test_slow_first_batch_has_a_bar_and_a_short_run_has_none(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0.3)
    flow_run_id = tell([lambda: None] * 10)
    assert artifacts_of(flow_run_id) == {}
    flow_run_id = tell([lambda: until(lambda: artifacts_of(flow_run.id))])
    assert artifacts_of(flow_run_id)["progress-task-5"].data == 10


def test_progress_is_updated_by_time_not_by_batch(client, make_task, monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 1.0)
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    updates = []
    update = artifacts.update_progress_artifact
    monkeypatch.setattr(
        artifacts,
        "update_progress_artifact",
        lambda *args: updates.append(time.monotonic()) or update(*args),
    )
    run_flow(client, make_task(70, chunk_size=1), cars(lambda context: time.sleep(0.1)))
    between = [later - earlier for earlier, later in pairwise(updates[:-1])]
    assert 1 <= len(between) <= 6
    assert min(between) >= artifacts.SECONDS_BETWEEN_UPDATES


# --- when Prefect's server has a hiccup ---


@flow(name="tell progress", persist_result=False)
def tell(steps):
    """Tell an artifact about a run of ten frames; `steps` are called between them."""
    report = RunReport(
        task_id=5, task_name="t", url="http://c/tasks/5", function="f", started=datetime.now(UTC)
    )
    progress = ArtifactProgress(report, get_run_logger())
    progress.start(10)
    try:
        for step in steps:
            step()
            progress.advance(1)
    finally:
        progress.finish()
    return flow_run.id


def asked_once(requests):
    """A step that waits for the request that creates the bar; `advance` then waits for its answer."""
    return lambda: until(lambda: requests.asked == 1)


def test_short_failure_of_prefect_server_does_not_delay_the_run(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    with prefect_proxy() as requests, all_that_is_logged() as lines:

        def fail():
            requests.asked = 0
            requests.status = 503

        def recover():
            failed.append(requests.asked)
            requests.status = None

        failed = []
        flow_run_id = tell([asked_once(requests), fail, *[lambda: None] * 4, recover, lambda: None])
    assert failed[0] == 5  # one attempt each
    assert artifacts_of(flow_run_id)["progress-task-5"].data == 80
    assert len([line for line in lines() if "the progress artifact could not be updated" in line]) == 1


def test_creates_progress_artifact_after_a_failure(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0.2)
    with prefect_proxy() as requests, all_that_is_logged() as lines:
        requests.status = 500

        def recover():
            requests.status = None
            time.sleep(0.3)

        flow_run_id = tell([asked_once(requests), recover, lambda: None])
    assert artifacts_of(flow_run_id)["progress-task-5"].data == 30
    assert [line for line in lines() if "500" in line and "the run continues" in line]


def test_slow_server_gets_fewer_updates(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)
    share = artifacts.MAX_TIME_SHARE
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    with prefect_proxy() as requests:

        def slow():
            monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", share)
            requests.asked = 0
            requests.delay = 0.3

        tell([asked_once(requests), slow, *[lambda: time.sleep(0.1)] * 8])
    assert requests.asked == 2  # one that took 0.3 s, after which none is due for 6 s, and the last
