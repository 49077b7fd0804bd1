"""The Prefect task that annotates a shard, on a real Prefect server: it stops when its flow run does."""

import threading

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling

from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.flows.fan_out import block_document_id
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks import flow_run_watch
from prefect_cvat.tasks.annotate_shard import Shard, annotate_shard
from prefect_cvat.tasks.wait_for_task import task_slots

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FRAMES = 40


@pytest.fixture
def shard(credentials, client, make_task, monkeypatch):
    """A shard with a detection much longer than the time between two checks."""
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(flow_run_watch, "SECONDS_BETWEEN_CHECKS", 0.1)
    task_id = make_task(FRAMES, chunk_size=1)
    jobs = tuple(job.id for job in client.jobs(task_id))
    function = CvatFunction(function="flow_functions.slow_box")
    return Shard(
        task_id,
        block_document_id(credentials),
        function.as_json(),
        Options(jobs=jobs, frames_per_batch=1, use_cache=False),
    )


@flow(name="one shard", persist_result=False)
def one_shard(shard, end_flow_run):
    flow_run_id = flow_run.id
    timer = threading.Timer(1.0, lambda: end_flow_run(flow_run_id))
    timer.start()
    try:
        return annotate_shard(shard)
    finally:
        timer.join()


def cancel(flow_run_id):
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(flow_run_id, Cancelling(), force=True)


def test_shard_stops_when_its_flow_run_is_cancelled(client, shard):
    with pytest.raises(RunStoppedError, match="the flow run of this shard is Cancelling; run it again"):
        one_shard(shard, cancel)
    assert len(client.task_annotations(shard.task_id).shapes) < FRAMES


def test_shard_that_waits_for_its_job_stops_when_its_flow_run_is_cancelled(client, shard):
    with (
        task_slots(client.url, shard.task_id, shard.options.selection.jobs),
        pytest.raises(RunStoppedError, match="the flow run of this shard is Cancelling; run it again"),
    ):
        one_shard(shard, cancel)
    assert not client.task_annotations(shard.task_id).shapes


def test_shard_completes_while_its_flow_run_is_running(shard):
    report = one_shard(shard, lambda _: None)
    assert (report.frames, report.added) == (FRAMES, FRAMES)
