"""The flow exports into a folder of the worker, and shows its stages, on a real Prefect server."""

import json

import pytest

from prefect_cvat.exceptions import NothingToExportError
from prefect_cvat.flows.export_task import export_task
from prefect_cvat.options.export_options import ExportOptions
from prefect_cvat.tasks import artifacts
from task_runs import artifacts_of, last_run, stages_of

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setenv("PREFECT_CVAT_EXPORTS_DIR", str(tmp_path / "exports"))
    return tmp_path / "exports"


def test_exports_what_a_function_finds(credentials, client, make_task, folder, monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)  # else a short run has no progress bar
    task_id = make_task(3)
    done = export_task(task_id, credentials, function=FUNCTION)
    run = last_run()
    assert done.folder == folder / f"task-{task_id}-{str(run.id)[:8]}"
    dataset = json.loads((done.folder / "annotations.json").read_text())
    assert (len(dataset["images"]), len(dataset["annotations"])) == (3, 3)
    assert len(list((done.folder / "images").iterdir())) == 3
    assert not client.task_annotations(task_id).shapes

    assert run.name == f"export task {task_id} with {FUNCTION}"
    assert run.state.message == f"3 frames exported to {done.folder}"
    assert stages_of(run) >= {"plan task", "batch 0"}
    found = artifacts_of(run)
    assert set(found) == {f"progress-task-{task_id}", f"export-task-{task_id}"}
    assert found[f"progress-task-{task_id}"].data == 100.0


def test_exports_annotations_of_the_task_without_images(credentials, client, make_task):
    task_id = make_task(3)
    label = client.labels(task_id)[0].id
    shape = {"type": "rectangle", "frame": 1, "label_id": label, "points": [1, 1, 5, 5], "source": "manual"}
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [shape], "tags": [], "tracks": []})
    done = export_task(task_id, credentials, dataset=ExportOptions(images=False))
    assert last_run().name == f"export task {task_id}"
    dataset = json.loads((done.folder / "annotations.json").read_text())
    assert [each["bbox"] for each in dataset["annotations"]] == [[1, 1, 4, 4]]
    assert not (done.folder / "images").exists()


def test_failed_export_leaves_no_folder(credentials, make_task, folder):
    with pytest.raises(NothingToExportError, match="there are no annotations"):
        export_task(make_task(3), credentials)
    assert last_run().state_name == "Failed"
    assert not list(folder.glob("*"))


def test_function_and_annotations_of_runs_exclude_each_other(credentials, make_task):
    with pytest.raises(ValueError, match="leave out the function"):
        export_task(make_task(3), credentials, function=FUNCTION, dataset=ExportOptions(left_by_runs=True))
