"""The flow that annotates a task in shards, on a real Prefect server, in threads and on Dask."""

import sys

import cloudpickle
import pytest
from prefect.context import serialize_context
from pydantic import SecretStr

from flow_functions import counted_models
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import MissingLibraryError, RunsFailedError
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.shard_runners import shard_task_runner
from prefect_cvat.tasks.prefect_limits import DEFAULT_RUNS_PER_SERVER, ensure_limit, server_limit

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

annotate_shards_module = sys.modules["prefect_cvat.flows.annotate_shards"]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def what_is_there(client, task_id):
    return sorted(
        (shape["frame"], shape["source"], shape["score"], *shape["points"])
        for shape in client.task_annotations(task_id).shapes
    )


def test_shards_write_the_same_as_one_run(credentials, client, make_task):
    whole, in_shards = (make_task(9, segment_size=2) for _ in range(2))
    annotate_task(client, whole, load_function(FUNCTION))

    report = annotate_shards(in_shards, credentials, shard_frames=4, function=FUNCTION)

    assert what_is_there(client, in_shards) == what_is_there(client, whole)
    assert (report.frames, report.added, report.labels) == (9, 9, {"car": 9})
    again = annotate_shards(in_shards, credentials, shard_frames=2, function=FUNCTION)
    assert (again.added, again.already_there) == (0, 9)


def test_page_has_the_frames_of_all_shards(credentials, make_task, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_PAGES_DIR", str(tmp_path))
    task_id = make_task(6, segment_size=2)
    annotate_shards(task_id, credentials, shard_frames=2, function=FUNCTION)
    [page] = tmp_path.iterdir()
    html = page.read_text()
    assert page.name.startswith(f"task-{task_id}-")
    assert [f"frame {number} · " in html for number in range(6)] == [True] * 6


def test_failed_shard_fails_the_run_but_not_other_shards(credentials, client, make_task):
    task_id = make_task(4, segment_size=2, labels=[label_spec("boat", None)])
    with pytest.raises(RunsFailedError, match="2 of 2 shards did not complete: .*'car' is not in dataset"):
        annotate_shards(task_id, credentials, shard_frames=2, function=FUNCTION)


def test_loads_at_most_one_model_per_slot_of_the_server(credentials, client, make_task, sandbox, monkeypatch):
    task_id = make_task(12, segment_size=1)
    limit = server_limit(sandbox.url)
    ensure_limit(limit, 2, overwrite=True)
    monkeypatch.setattr(counted_models, "most", 0)
    try:
        report = annotate_shards(
            task_id, credentials, shard_frames=1, function="flow_functions.counted_models"
        )
    finally:
        ensure_limit(limit, DEFAULT_RUNS_PER_SERVER, overwrite=True)
    assert (report.frames, report.added) == (12, 12)
    assert 1 <= counted_models.most <= 2
    assert counted_models.alive == 0


def test_unsaved_credentials_are_an_error(sandbox, make_task):
    unsaved = CvatCredentials(url=sandbox.url, username="admin", password=SecretStr("admin"))
    with pytest.raises(ValueError, match="CvatCredentials has not been saved"):
        annotate_shards(make_task(2), unsaved, function=FUNCTION)


def test_sends_no_secret_to_other_machines(client, sandbox, prefect_server, make_task, monkeypatch):
    token = client.json("POST", "/api/auth/access_tokens", body={"name": "shards"})["value"]
    CvatCredentials(url=sandbox.url, access_token=SecretStr(token)).save("token", overwrite=True)
    credentials = CvatCredentials.load("token")
    sent = []

    class Recorder:
        def submit(self, shard):
            sent.append(cloudpickle.dumps((serialize_context(), shard)))
            raise RuntimeError("that is all")

    monkeypatch.setattr(annotate_shards_module, "annotate_shard", Recorder())
    with pytest.raises(RuntimeError, match="that is all"):
        annotate_shards(make_task(2), credentials, function=FUNCTION)
    [pickled] = sent
    assert b"task_id" in pickled
    assert token.encode() not in pickled


@pytest.mark.parametrize("cluster", ["dask", "ray"])
def test_missing_library_names_the_extra(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, f"prefect_{cluster}.task_runners", None)
    with pytest.raises(MissingLibraryError, match=rf"prefect-cvat\[{cluster}\]"):
        shard_task_runner(cluster)


@pytest.mark.parametrize(
    ("cluster", "library", "address"),
    [
        ("dask", "prefect_dask", None),
        ("tcp://scheduler:8786", "prefect_dask", "tcp://scheduler:8786"),
        ("tls://scheduler:8786", "prefect_dask", "tls://scheduler:8786"),
        ("ray", "prefect_ray", None),
        ("ray://head:10001", "prefect_ray", "ray://head:10001"),
    ],
)
def test_cluster_is_chosen_by_its_address(cluster, library, address):
    pytest.importorskip(library, reason=f"{library} is not installed")
    runner = shard_task_runner(cluster)
    assert type(runner).__module__.startswith(library)
    assert getattr(runner, "address", None) == address or getattr(runner, "_address", None) == address


@pytest.mark.parametrize("wrong", ["local", "http://scheduler:8786", "tcp", "dask://", "scheduler:8786"])
def test_other_clusters_are_refused_with_examples(wrong):
    with pytest.raises(ValueError, match=r"is no cluster: it is dask or ray .*tcp://host:8786 .*ray://"):
        shard_task_runner(wrong)
