"""What a run asks of the Prefect server: requests by route, counted by a proxy."""

import pytest

from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.tasks.prefect_limits import ensure_limit, server_limit
from prefect_proxy import prefect_proxy

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

OF_PREFECT = {
    "GET /api/admin/version": 1,
    "GET /api/csrf-token": 1,
    "POST /api/flows/": 1,
    "POST /api/flow_runs/": 1,
    "GET /api/admin/storage": 2,
    "GET /api/flow_runs/...": 1,
    "POST /api/flow_runs/.../set_state": 2,
}
"""The requests of any flow run of one process."""


@pytest.mark.parametrize("batches", [1, 10])
def test_requests_of_a_run(credentials, make_task, monkeypatch, batches):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    task_id = make_task(10, chunk_size=1)

    def annotate(**frames):
        annotate_task(
            task_id,
            credentials,
            "flow_functions.one_box",
            frames=FrameOptions(**frames),
            execution=ExecutionSettings(frames_per_batch=10 // batches),
        )

    annotate(frames=[0])  # creates the limit of the server
    with prefect_proxy() as requests:
        annotate()
    asked = {route: number for route, number in requests.routes.items() if not route.endswith("/logs/")}
    assert asked == OF_PREFECT | {
        "PATCH /api/flow_runs/...": 3,  # the name, the tags, and those that are known once it is planned
        "POST /api/v2/concurrency_limits/": 1,  # of the task
        "POST /api/v2/concurrency_limits/increment-with-lease": 2,  # of the task and the CVAT server
        "POST /api/v2/concurrency_limits/leases/.../renew": 2,  # Prefect does that at once
        "POST /api/v2/concurrency_limits/decrement-with-lease": 2,
        "DELETE /api/v2/concurrency_limits/...": 1,
        "POST /api/artifacts/": 6,  # the report, the scores, and four frames
    }


@pytest.mark.parametrize("flow", [annotate_task, annotate_shards])
def test_busy_server_is_asked_again_soon(credentials, make_task, monkeypatch, flow):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    with prefect_proxy() as requests:
        requests.busy_once.add("/increment-with-lease")
        flow(make_task(2), credentials, function="flow_functions.one_box")
    assert requests.again_after < 1.0  # Prefect's client would wait two seconds


def test_requests_of_shards(credentials, make_task, client, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    task_id = make_task(6, segment_size=2)
    ensure_limit(server_limit(client.url), 8)
    with prefect_proxy() as requests:
        annotate_shards(task_id, credentials, shard_frames=2, function="flow_functions.one_box")
    number = {route: requests.routes.get(route, 0) for route in SHARD_ROUTES}
    shards, flow_run = 3, 1
    assert number == {
        "POST /api/v2/concurrency_limits/": shards + flow_run,  # of each job, and of the task
        # of server, task and job in one; before them, of the server to load the function's key
        "POST /api/v2/concurrency_limits/increment-with-lease": shards + 3 * flow_run,
        "DELETE /api/v2/concurrency_limits/...": shards + flow_run,
        "GET /api/block_documents/...": 0,  # in this process they have those of the flow run
    }


SHARD_ROUTES = (
    "POST /api/v2/concurrency_limits/",
    "POST /api/v2/concurrency_limits/increment-with-lease",
    "DELETE /api/v2/concurrency_limits/...",
    "GET /api/block_documents/...",
)


def test_requests_for_the_slots_of_a_run_on_jobs(credentials, make_task, client, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    task_id = make_task(6, segment_size=2)
    jobs = [job.id for job in client.jobs(task_id)][:2]
    ensure_limit(server_limit(client.url), 8)
    with prefect_proxy() as requests:
        annotate_task(task_id, credentials, "flow_functions.one_box", frames=FrameOptions(jobs=jobs))
    slots = {
        route.removeprefix("POST /api/v2/concurrency_limits/"): number
        for route, number in requests.routes.items()
        if "concurrency" in route
    }
    assert slots == {
        "": 3,  # of the task and two jobs
        "increment-with-lease": 2,  # of these and of the CVAT server; of the task, to remove its limit
        "leases/.../renew": 2,
        "decrement-with-lease": 2,
        "DELETE /api/v2/concurrency_limits/...": 3,
    }
