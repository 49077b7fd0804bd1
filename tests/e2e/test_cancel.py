"""Cancelled runs."""

import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from pictures import picture
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_TASK

FRAMES = 80
BATCH = 4

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


@pytest.fixture
def task_id(client):
    task = client.create_task("a long one", [label_spec("car", None)])
    images = {f"{i:03}.png": picture(seed=i) for i in range(FRAMES)}
    client.upload_images(task.id, images, chunk_size=BATCH)
    return task.id


def start_run(task_id):
    parameters = {
        "task_id": task_id,
        "function": "flow_functions.slow_box",
        "execution": {"frames_per_batch": BATCH, "use_cache": False},
    }
    return run_deployment(ANNOTATE_TASK, parameters=parameters, timeout=0).id


def task_runs_of(prefect, run_id):
    filters = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    return prefect.read_task_runs(flow_run_filter=filters, limit=200)


def frames_with_boxes(client, task_id):
    return sorted(shape["frame"] for shape in client.task_annotations(task_id).shapes)


def test_cancelled_run_stops_within_a_batch_and_reports(serve, client, task_id, wait_for):
    served = serve(PREFECT_CVAT_FUNCTION_MODULES="flow_functions", PYTHONPATH=str(Path(__file__).parents[1]))
    run_id = start_run(task_id)
    wait_for(lambda: frames_with_boxes(client, task_id), 120, "the first annotations", served)

    with get_client(sync_client=True) as prefect:
        cancelled_at = time.monotonic()
        prefect.set_flow_run_state(run_id, Cancelling())  # as the button in Prefect's UI does
        at_that_time = len(frames_with_boxes(client, task_id))
        state = wait_for(
            lambda: (found := prefect.read_flow_run(run_id).state).is_final() and found, 40, "the end", served
        )
        assert time.monotonic() - cancelled_at < 5
        assert state.is_cancelled(), served.text()
        artifacts = prefect.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
        states = {run.name: run.state_name for run in task_runs_of(prefect, run_id)}
    left = frames_with_boxes(client, task_id)
    time.sleep(4)
    assert frames_with_boxes(client, task_id) == left, "something went on writing"
    # the batch that was detected, and one that was being uploaded. Each is there as a whole; which of
    # those in flight is uploaded first is up to Prefect's threads.
    assert at_that_time <= len(left) <= at_that_time + 3 * BATCH
    batches = {frame // BATCH for frame in left}
    assert left == [frame for batch in sorted(batches) for frame in range(batch * BATCH, (batch + 1) * BATCH)]
    [report] = [artifact.data for artifact in artifacts if artifact.key == f"report-task-{task_id}"]
    assert "**Cancelled**" in report
    assert f"{len(left)} annotations" in report
    assert f"{len(left)} annotations of this run are in task {task_id}" in served.text()

    # it looks like cancelling
    assert set(states.values()) == {"Completed", "Cancelled"}, states
    log = served.text()
    assert "Traceback" not in log, log
    assert "ERROR" not in log, log
    assert "Finished in state Running" not in log, log

    run_id = start_run(task_id)
    with get_client(sync_client=True) as prefect:
        wait_for(lambda: prefect.read_flow_run(run_id).state.is_final(), 120, "the next run", served)
        assert prefect.read_flow_run(run_id).state.is_completed(), served.text()
    assert frames_with_boxes(client, task_id) == list(range(FRAMES))
