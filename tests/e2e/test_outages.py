"""The Prefect server is restarted, or loses its database, during a run: nothing is lost, and nothing is there twice."""

import time
from collections import Counter
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from pictures import picture
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_TASK

FRAMES = 160
OUTAGE_SECONDS = 60

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


@pytest.fixture
def task_id(client):
    task = client.create_task("a long one", [label_spec("car", None)])
    images = {f"{i:03}.png": picture(seed=i) for i in range(FRAMES)}
    client.upload_images(task.id, images, chunk_size=4)
    return task.id


@pytest.fixture
def annotated(client, task_id):
    """How many shapes there are on each frame that has any."""
    return lambda: Counter(shape["frame"] for shape in client.task_annotations(task_id).shapes)


@pytest.fixture
def run(serve, task_id, annotated, wait_for):
    """A run that has written its first annotations, and the process that executes it."""
    served = serve(PREFECT_CVAT_FUNCTION_MODULES="flow_functions", PYTHONPATH=str(Path(__file__).parents[1]))
    parameters = {
        "task_id": task_id,
        "function": "flow_functions.slow_box",
        "execution": {"frames_per_batch": 4, "use_cache": False},
    }
    run_id = run_deployment(ANNOTATE_TASK, parameters=parameters, timeout=0).id
    wait_for(annotated, 120, "the first annotations", served)
    return run_id, served


def final_state(run_id):
    with get_client(sync_client=True) as prefect:
        state = prefect.read_flow_run(run_id).state
    return state if state.is_final() else None


def test_run_survives_a_restart_of_the_prefect_server(prefect_api, run, annotated, wait_for):
    run_id, served = run

    prefect_api.kill()
    assert len(annotated()) < FRAMES
    prefect_api.start()

    state = wait_for(lambda: final_state(run_id), 240, "the end", served)
    assert state.is_completed(), served.text()
    assert annotated() == dict.fromkeys(range(FRAMES), 1)


def test_run_survives_the_loss_of_the_database_for_a_minute(prefect_api, run, annotated, wait_for):
    if prefect_api.database is None:
        pytest.skip("on PostgreSQL: make e2e DATABASE=postgresql")
    run_id, served = run

    prefect_api.database.stop()
    assert len(annotated()) < FRAMES
    time.sleep(OUTAGE_SECONDS)
    prefect_api.database.start()

    state = wait_for(lambda: final_state(run_id), 240, "the end", served)
    assert state.is_completed(), served.text()
    assert annotated() == dict.fromkeys(range(FRAMES), 1)
