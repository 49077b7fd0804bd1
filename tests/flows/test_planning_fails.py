"""Flows that cannot plan: their state and their log say why."""

import logging

import pytest
from pydantic import SecretStr

from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import NoDataError, NotFoundError, PermissionDeniedError
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.evaluate_task import evaluate_task
from prefect_cvat.flows.fan_out import FanOut
from prefect_cvat.flows.refine_task import refine_task
from prefect_cvat.flows.track_task import track_task
from prefect_cvat.options.frame_options import FrameOptions

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

HERE = FanOut(deployment=None)
FUNCTION = "flow_functions.one_box"

FLOWS = {
    "annotate": lambda *where, **more: annotate_task(*where, function=FUNCTION, **more),
    "track": lambda *where, **more: track_task(*where, function=FUNCTION, **more),
    "follow": lambda *where, **more: track_task(*where, function="optical_flow_tracking", **more),
    "refine": lambda *where, **more: refine_task(*where, function="grabcut_interaction", **more),
    "shards": lambda *where, **more: annotate_shards(*where, function=FUNCTION, **more),
    "evaluate": lambda *where, **more: evaluate_task(*where, function=FUNCTION, **more),
}


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


@pytest.fixture(scope="module")
def stranger(sandbox, prefect_server):
    """The credentials of a user who may see none of the tasks."""
    body = {"username": "planning-stranger", "password1": "p", "password2": "p"}
    with Client(sandbox.url) as nobody:
        nobody._transport.json("POST", "/api/auth/register", body=body, anonymous=True)
    CvatCredentials(url=sandbox.url, username="planning-stranger", password=SecretStr("p")).save(
        "test-stranger", overwrite=True
    )
    return CvatCredentials.load("test-stranger")


@pytest.fixture
def last_run(caplog):
    """The state of the last flow run, and its log."""

    def look():
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.sorting import FlowRunSort

        with get_client(sync_client=True) as prefect:
            [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
        return run.state, caplog.text

    caplog.set_level(logging.INFO)
    return look


def check(run, kind, why, last_run):
    with pytest.raises(kind, match=why):
        run()
    state, log = last_run()
    assert state.name == "Failed"
    assert kind.__name__ in state.message
    assert why in state.message
    assert why in log
    assert "AssertionError" not in state.message + log
    assert "comes first" not in state.message + log


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_fails_if_task_does_not_exist(flow, credentials, last_run):
    check(lambda: flow(999_999, credentials), NotFoundError, "there is no task 999999", last_run)


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_fails_if_task_is_not_visible(flow, stranger, make_task, last_run):
    task_id = make_task(2)
    why = f"/api/tasks/{task_id} was answered with 403 Forbidden"
    check(lambda: flow(task_id, stranger), PermissionDeniedError, why, last_run)


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_fails_if_task_has_no_data(flow, credentials, client, last_run):
    task_id = client.create_task("no data yet", [label_spec("car", None)]).id
    check(lambda: flow(task_id, credentials), NoDataError, "no data", last_run)


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_fails_if_frame_does_not_exist(flow, credentials, make_task, last_run):
    task_id, beyond = make_task(2), FrameOptions(frames=[1, 2])
    check(lambda: flow(task_id, credentials, frames=beyond), ValueError, "it has no frame 2", last_run)


def test_fails_if_project_does_not_exist(credentials, last_run):
    run = lambda: annotate_project(credentials, 999_999, function=FUNCTION, fan_out=HERE)  # noqa: E731
    check(run, NotFoundError, "there is no project 999999", last_run)


def test_fails_if_project_is_not_visible(stranger, client, last_run):
    body = {"name": "streets", "labels": [{"name": "car"}]}
    project_id = client.json("POST", "/api/projects", body=body)["id"]
    run = lambda: annotate_project(stranger, project_id, function=FUNCTION, fan_out=HERE)  # noqa: E731
    why = f"/api/projects/{project_id} was answered with 403 Forbidden"
    check(run, PermissionDeniedError, why, last_run)
