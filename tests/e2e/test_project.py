"""Two runs on a project at a time, and one that is cancelled, with workers."""

import threading
from contextvars import copy_context
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from pictures import picture
from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.flows import fan_out
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.flow_run_keys import task_tag
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.label_and_threshold_options import LabelOptions

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own

FRAMES = 240
EXECUTION = {"frames_per_batch": 4, "use_cache": False}


@pytest.fixture
def project(client):
    body = {"name": "a project", "labels": [{"name": "car"}]}
    project_id = client.json("POST", "/api/projects", body=body)["id"]
    tasks = [client.create_task(f"task {i}", [], project_id=project_id).id for i in range(2)]
    for task_id in tasks:
        client.upload_images(task_id, {f"{i:03}.png": picture(seed=i) for i in range(FRAMES)}, chunk_size=4)
    return project_id, tasks


def test_runs_are_started_once_and_are_cancelled_with_the_run_on_the_project(
    serve, credentials, client, project, wait_for, monkeypatch
):
    project_id, tasks = project
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    served = serve(PREFECT_CVAT_FUNCTION_MODULES="flow_functions", PYTHONPATH=str(Path(__file__).parents[1]))
    common = {"project_id": project_id, "function": "flow_functions.slow_box"}
    parameters = {**common, "execution": EXECUTION}
    first = run_deployment("annotate project/annotate-project", parameters=parameters, timeout=0).id

    def runs():
        with get_client(sync_client=True) as prefect:
            tags = FlowRunFilterTags(any_=[task_tag(client.url, task_id) for task_id in tasks])
            return prefect.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags))

    wait_for(lambda: sum(run.state.is_running() for run in runs()) == 2, 120, "both runs", served)

    outcome, is_waiting = [], threading.Event()
    state_of = fan_out._state_of
    monkeypatch.setattr(fan_out, "_state_of", lambda *run: is_waiting.set() or state_of(*run))

    def run_second():
        labels = LabelOptions(allow_unmatched_labels=True)  # as in the deployment
        execution = ExecutionSettings(**EXECUTION)
        try:
            outcome.append(annotate_project(credentials, labels=labels, execution=execution, **common))
        except RunsFailedError as error:
            outcome.append(error)

    second = threading.Thread(target=copy_context().run, args=(run_second,))  # with the settings of Prefect
    second.start()
    try:
        assert is_waiting.wait(60)
        assert len(runs()) == 2, "the second run has started a run on the same task"
        with get_client(sync_client=True) as prefect:
            prefect.set_flow_run_state(first, Cancelling())  # as the button in Prefect's UI does
            wait_for(lambda: prefect.read_flow_run(first).state.is_final(), 60, "the end", served)
            assert prefect.read_flow_run(first).state.is_cancelled(), served.text()
            wait_for(lambda: all(run.state.is_final() for run in runs()), 60, "the end of all runs", served)
            artifacts = prefect.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[first]))
            )
    finally:
        second.join(60)
    assert [run.state.is_cancelled() for run in runs()] == [True, True], served.text()
    [page] = [artifact.data for artifact in artifacts if artifact.key == f"report-project-{project_id}"]
    for task_id in tasks:
        assert f"[task {task_id}]({client.url}/tasks/{task_id}) | failed | cancelled with the run" in page
        assert len(client.task_annotations(task_id).shapes) < FRAMES
    [error] = outcome
    assert isinstance(error, RunsFailedError)
    assert "2 of 2 runs did not complete" in str(error)
