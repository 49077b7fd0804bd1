"""Runs of dead processes: they end as crashed, and the next run completes them."""

import io
import os
import signal
from collections import Counter

import PIL.Image
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.states import AwaitingRetry
from skimage import data

from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.deployments.automations import CRASHED_AFTER_SECONDS, CRASHED_MESSAGE
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_TASK
from prefect_cvat.deployments.set_up_server import set_up
from prefect_cvat.tasks.slot_leases import LEASE_SECONDS

FRAMES = 40

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


@pytest.fixture(autouse=True)
def set_up_once(credentials):
    list(set_up(None, work_pool=None))


@pytest.fixture
def task_id(client):
    """A task with the same photograph on each frame; the detector needs some seconds for all of them."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(data.astronaut()).save(buffer, "PNG")
    task = client.create_task("a person, again and again", [label_spec("person", None)])
    client.upload_images(task.id, {f"{i:03}.png": buffer.getvalue() for i in range(FRAMES)}, chunk_size=2)
    return task.id


@pytest.fixture
def annotated(client, task_id):
    """How many shapes there are on each frame that has any."""

    def count():
        (job,) = client.jobs(task_id)
        return Counter(shape["frame"] for shape in client.job_annotations(job.id).shapes)

    return count


def start_run(task_id):
    parameters = {"task_id": task_id, "labels": {"allow_unmatched_labels": True}}
    parameters["execution"] = {"frames_per_batch": 2}
    return run_deployment(ANNOTATE_TASK, parameters=parameters, timeout=0).id


def state(run_id):
    with get_client(sync_client=True) as prefect:
        return prefect.read_flow_run(run_id).state


def test_run_of_dead_machine_is_marked_crashed_and_next_run_completes(serve, task_id, annotated, wait_for):
    machine = serve()
    run_id = start_run(task_id)
    wait_for(annotated, 120, "the first annotations", machine)
    machine.kill()
    assert state(run_id).is_running()

    crashed = wait_for(
        lambda: (found := state(run_id)).is_final() and found, CRASHED_AFTER_SECONDS + 30, "the end"
    )

    assert (crashed.name, crashed.message) == ("Crashed", CRASHED_MESSAGE)
    assert 0 < len(annotated()) < FRAMES
    machine = serve()
    run_id = start_run(task_id)
    completed = wait_for(lambda: (found := state(run_id)).is_final() and found, 240, "the next run", machine)
    assert completed.is_completed(), machine.text()
    assert annotated() == dict.fromkeys(range(FRAMES), 1)


def test_serve_reports_killed_run_within_seconds_and_retry_completes_it(serve, task_id, annotated, wait_for):
    machine = serve()
    run_id = start_run(task_id)
    wait_for(annotated, 120, "the first annotations", machine)
    for pid in machine.children():
        os.kill(pid, signal.SIGKILL)

    crashed = wait_for(lambda: (found := state(run_id)).is_final() and found, 30, "the end", machine)

    assert crashed.is_crashed()
    assert 0 < len(annotated()) < FRAMES
    with get_client(sync_client=True) as prefect:  # as the button Retry on the page of the run does
        prefect.set_flow_run_state(run_id, AwaitingRetry())
    # it first waits for the slots of the dead process
    completed = wait_for(
        lambda: (found := state(run_id)).is_final() and found, LEASE_SECONDS + 200, "the end", machine
    )
    assert completed.is_completed(), machine.text()
    assert annotated() == dict.fromkeys(range(FRAMES), 1)
    assert "Cached('2 frames, 2 of them detected in an earlier run" in machine.text()
    assert machine.stop() == 0
    with get_client(sync_client=True) as prefect:
        assert not any(deployment.paused for deployment in prefect.read_deployments())
