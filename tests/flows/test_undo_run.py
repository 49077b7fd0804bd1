"""A flow run is undone by its own id, all shards of it at once."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ParameterTypeError

from prefect_cvat import undo_run
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.undo_run import undo_run as undo_run_flow
from prefect_cvat.records.record_reader import read_run

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def last_flow_run():
    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
    return str(run.id)


def test_undoes_flow_run_by_id(credentials, client, make_task):
    task_id = make_task(3)
    report = annotate_task(task_id, credentials, function=FUNCTION)
    assert report.run == last_flow_run()
    assert report.provenance is not None
    assert (report.provenance.function, report.provenance.function_parameters) == (FUNCTION, {})
    assert undo_run(client, report.run).removed == report.added == 3
    assert not client.task_annotations(task_id).shapes


def test_flow_undoes_a_run_given_by_the_beginning_of_its_id(credentials, client, make_task):
    task_id = make_task(3)
    report = annotate_task(task_id, credentials, function=FUNCTION)

    counted = undo_run_flow(report.run[:8], credentials, dry_run=True)
    assert (counted.removed, len(client.task_annotations(task_id).shapes)) == (3, 3)

    done = undo_run_flow(report.run[:8], credentials)
    assert (done.task_id, done.removed) == (task_id, 3)
    assert not client.task_annotations(task_id).shapes
    with get_client(sync_client=True) as prefect:
        run = prefect.read_flow_run(last_flow_run())
    assert run.name == f"undo run {report.run[:8]}"
    assert run.state.message == "3 removed, 0 changed since and kept, 0 gone already"


def test_flow_takes_no_path_of_a_file(credentials, tmp_path):
    with pytest.raises(ParameterTypeError, match="run"):
        undo_run_flow(str(tmp_path / "report.json"), credentials)


def test_undoes_all_shards_of_a_run(credentials, client, make_task, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path))
    task_id = make_task(6, segment_size=2)
    report = annotate_shards(task_id, credentials, shard_frames=2, function=FUNCTION)
    assert report.run == last_flow_run()
    assert len(list((tmp_path / report.run).glob("*.jsonl"))) == 3
    assert len(read_run(report.run).jobs) == 3
    assert undo_run(client, report.run).removed == report.added == 6
    assert not client.task_annotations(task_id).shapes
