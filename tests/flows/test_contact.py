"""Messages of flow runs about servers that are missing or temporarily unavailable."""

import logging
import time
import uuid
from contextlib import contextmanager

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import SecretStr

from ports import free_port
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import ReadOnlyTokenError, UnreachableError
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.http import request_sender
from prefect_cvat.http.reachability import REACHABILITY_TIMEOUT
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS
from served_chunks import without_chunks

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def last_flow_run():
    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
        return run


def log_of(run, text, seconds=20):
    """The lines of the log of a flow run, as its page shows them, once one has the text in it."""
    until = time.monotonic() + seconds
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    while True:
        with get_client(sync_client=True) as prefect:
            lines = [log.message for log in prefect.read_logs(of_run)]
        if any(text in line for line in lines) or time.monotonic() > until:
            return lines
        time.sleep(0.5)


@contextmanager
def warnings_are_logged():
    """Tests log errors alone; people also warnings."""
    logger = logging.getLogger("prefect")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@pytest.fixture
def contacts(monkeypatch):
    """The addresses that clients do not yet know to be reachable."""
    made = []
    original = request_sender.check_reachable

    def check_reachable(session, url, **options):
        made.append(url)
        original(session, url, **options)

    monkeypatch.setattr(request_sender, "check_reachable", check_reachable)
    return made


def test_run_logs_retried_requests(credentials, sandbox, make_task):
    task_id = make_task(2)
    fault = {"kind": "status", "status": 502}
    sandbox.faults.set([{"methods": ["GET"], "path": f"/api/tasks/{task_id}$", "fault": fault, "times": 2}])
    try:
        with warnings_are_logged():
            annotate_task(task_id, credentials, function=FUNCTION)
    finally:
        sandbox.faults.clear()
    lines = log_of(last_flow_run(), "attempt 3 follows")
    told = [line for line in lines if "was answered with 502" in line]
    assert [f"attempt {2 + i} follows in" in line for i, line in enumerate(told)] == [True, True], lines


@pytest.mark.parametrize("log_in", [
    {"access_token": SecretStr("secret-token-value")}, {"username": "a", "password": SecretStr("b")},
], ids=["token", "password"])  # fmt: skip
@pytest.mark.parametrize("annotate", [annotate_task, annotate_shards], ids=lambda flow: flow.name)
def test_wrong_address_fails_within_ten_seconds(annotate, log_in):
    url = f"http://127.0.0.1:{free_port()}/{uuid.uuid4().hex}"
    CvatCredentials(url=url, **log_in).save("wrong", overwrite=True)
    started = time.monotonic()
    with warnings_are_logged(), pytest.raises(UnreachableError, match="Connection refused"):
        annotate(1, CvatCredentials.load("wrong"), function=FUNCTION)
    assert time.monotonic() - started < REACHABILITY_TIMEOUT + 5
    run = last_flow_run()
    assert run.state_name == "Failed"
    assert url in run.state.message
    assert any("attempt 2 follows" in line for line in log_of(run, "attempt 2 follows"))


def test_prefect_does_not_retry_wrong_address():
    tried = []

    @task(name="ask", **RETRY_NETWORK_ERRORS)
    def ask():
        tried.append(1)
        raise UnreachableError("no server answers at http://cvat.example.com")

    @flow(name="ask a wrong address", persist_result=False)
    def ask_once():
        ask.submit().result()

    with pytest.raises(UnreachableError):
        ask_once()
    assert tried == [1]


def test_shards_retry_server_that_has_answered_their_flow_run(credentials, client, make_task, contacts):
    annotate_shards(make_task(4, segment_size=2), credentials, shard_frames=2, function=FUNCTION)
    assert contacts == [client.url]


def test_child_runs_retry_server_that_has_answered_their_parent(credentials, make_task, contacts):
    task_id = make_task(2)

    @flow(name="a parent", persist_result=False)
    def parent():
        annotate_task(task_id, credentials, function=FUNCTION)

    parent()
    assert contacts == []


@pytest.mark.parametrize("annotate", [annotate_task, annotate_shards], ids=lambda flow: flow.name)
def test_read_only_token_fails_before_waiting_for_slots(annotate, client, sandbox, make_task, monkeypatch):
    body = {"name": "reader", "read_only": True}
    token = client.json("POST", "/api/auth/access_tokens", body=body)["value"]
    CvatCredentials(url=sandbox.url, access_token=SecretStr(token)).save("reader", overwrite=True)
    without_chunks(monkeypatch)
    with pytest.raises(ReadOnlyTokenError, match="is read-only"):
        annotate(make_task(2), CvatCredentials.load("reader"), function=FUNCTION)
    with get_client(sync_client=True) as prefect:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[last_flow_run().id]))
        assert prefect.read_task_runs(flow_run_filter=of_run) == []
