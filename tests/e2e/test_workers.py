"""A task in shards, on several workers: same result as one process, even if a worker is killed.

`make workers` runs this; it takes some minutes, since a dead run is noticed after 150 s.
"""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from pictures import picture
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.loading import load_function_module
from prefect_cvat.deployments.prefect_yaml import PREFECT_YAML
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.fan_out import FanOut
from prefect_cvat.flows.flow_run_keys import task_tag
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.task_selection_options import TaskSelection

FRAMES = 120
JOB_FRAMES = 10
FUNCTION = "flow_functions.slow_box"
ENV = {"PREFECT_CVAT_FUNCTION_MODULES": "flow_functions", "PYTHONPATH": str(Path(__file__).parents[1])}

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def make_long_task(client):
    def make(name: str) -> int:
        task = client.create_task(name, [label_spec("car", None)], segment_size=JOB_FRAMES)
        images = {f"{i:03}.png": picture(seed=i) for i in range(FRAMES)}
        client.upload_images(task.id, images, chunk_size=5)
        return task.id

    return make


@pytest.fixture
def expected(client, make_long_task):
    """What one process writes."""
    task_id = make_long_task("by one process")
    annotate_task(client, task_id, load_function_module("flow_functions.one_box"))
    return what_is_there(client, task_id)


def what_is_there(client, task_id):
    return Counter(
        (shape["frame"], shape["source"], shape["score"], *shape["points"])
        for shape in client.task_annotations(task_id).shapes
    )


def all_have_begun(log):
    """Whether a worker has runs, and none is still starting: those would time out after ten minutes."""
    return 0 < log.count("submitted to infrastructure") == log.count("Beginning subflow run")


def finished(start_process, wait_for, *arguments):
    process = start_process(*arguments)
    wait_for(lambda: process.returncode is not None, 180, " ".join(arguments[:3]))
    assert process.returncode == 0, process.text()


def test_two_workers_complete_after_one_is_killed(
    start_process, wait_for, credentials, client, make_long_task, expected
):
    finished(start_process, wait_for, "prefect_cvat", "setup")
    deploy = ("--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_YAML))
    finished(start_process, wait_for, "prefect", *deploy)
    finished(start_process, wait_for, "prefect_cvat", "setup")
    workers = [
        start_process(
            *("prefect", "worker", "start", "--pool", "cvat", "--name", name, "--limit", "2"),
            **ENV,
            PREFECT_WORKER_QUERY_SECONDS="2",
        )
        for name in ("one", "two")
    ]
    task_id = make_long_task("by two workers")

    killed = []

    def kill_a_worker() -> None:
        for worker in workers:
            wait_for(lambda worker=worker: all_have_begun(worker.text()), 120, "its runs to begin", worker)
        wait_for(lambda: len(what_is_there(client, task_id)) > 5, 120, "the first annotations")
        workers[1].kill()
        killed.append(len(what_is_there(client, task_id)))

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    report = annotate_project(
        credentials,
        all_tasks=True,
        tasks=TaskSelection(name_pattern="by two workers"),
        function=FUNCTION,
        execution=ExecutionSettings(use_cache=False),
        fan_out=FanOut(shard_frames=30, runs_at_a_time=4),
    )
    killer.join()

    assert killed[0] < FRAMES
    assert len(report.completed) == 4
    assert what_is_there(client, task_id) == expected
    with get_client(sync_client=True) as prefect:
        tag = task_tag(client.url, task_id)
        states = Counter(run.state_name for run in prefect.read_flow_runs() if tag in run.tags)
    assert states["Completed"] == 4
    assert states["Crashed"] >= 1


def _dask():
    dask = pytest.importorskip("prefect_dask", reason="prefect-dask is not installed")
    return dask.DaskTaskRunner(
        cluster_kwargs={"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    )


def _ray():
    ray = pytest.importorskip("prefect_ray", reason="prefect-ray is not installed")
    return ray.RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False})


@pytest.mark.parametrize(
    ("make_runner", "is_worker"),
    [
        pytest.param(_dask, lambda command: "spawn_main" in command, id="dask"),
        # Ray's own agents are called ray::...Agent: without them a whole machine is lost
        pytest.param(_ray, lambda command: "ray::" in command and "shard" in command, id="ray"),
    ],
)
def test_cluster_completes_after_a_worker_is_killed(
    make_runner, is_worker, credentials, client, make_long_task, expected, wait_for
):
    on_cluster = annotate_shards.with_options(task_runner=make_runner())
    task_id = make_long_task("by a cluster")
    killed = []

    def kill_a_worker() -> None:
        wait_for(lambda: len(what_is_there(client, task_id)) > 5, 120, "the first annotations")
        worker = next(pid for pid in children_of(os.getpid()) if is_worker(command_of(pid)))
        os.kill(worker, signal.SIGKILL)
        killed.append(len(what_is_there(client, task_id)))

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    report = on_cluster(
        task_id, credentials, shard_frames=30, function=FUNCTION, execution=ExecutionSettings(use_cache=False)
    )
    killer.join()
    assert killed[0] < FRAMES
    assert what_is_there(client, task_id) == expected
    assert report.frames == FRAMES


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children_of(child)]
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
