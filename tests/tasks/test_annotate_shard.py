"""The Prefect task that annotates a shard, on a real Prefect server: it stops when its flow run does."""

import threading
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling

from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.flows.fan_out import block_document_id
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks import annotate_shard as shard_module
from prefect_cvat.tasks.annotate_shard import Shard, _FlowRunWatch, annotate_shard

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FRAMES = 40


@pytest.fixture
def shard(credentials, client, make_task, monkeypatch):
    """A shard with a detection much longer than the time between two checks."""
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(shard_module, "SECONDS_BETWEEN_CHECKS", 0.1)
    task_id = make_task(FRAMES, chunk_size=1)
    jobs = tuple(job.id for job in client.jobs(task_id))
    function = CvatFunction(function="flow_functions.slow_box")
    return Shard(
        task_id,
        block_document_id(credentials),
        function.model_dump_json(include=set(CvatFunction.model_fields)),
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


def test_shard_completes_while_its_flow_run_is_running(shard):
    report = one_shard(shard, lambda _: None)
    assert (report.frames, report.added) == (FRAMES, FRAMES)


def test_shard_stops_when_its_flow_run_was_deleted():
    stopped = threading.Event()
    watch = _FlowRunWatch(uuid4(), stopped.set)
    watch.start()
    assert stopped.wait(60)
    assert watch.final_state == "deleted"
