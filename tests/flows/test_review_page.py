"""The page to review frames that flows write, on a real Prefect server."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.evaluate_task import evaluate_task
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from review_pages import frames_of

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"
ALLOW = LabelOptions(allow_unmatched_labels=True)


@pytest.fixture(autouse=True)
def _allow_functions(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def link_of(task_id):
    key = ArtifactFilter(key=ArtifactFilterKey(any_=[f"page-task-{task_id}"]))
    with get_client(sync_client=True) as prefect:
        return [artifact.data for artifact in prefect.read_artifacts(artifact_filter=key)]


def test_flow_writes_a_page_and_links_it(credentials, make_task, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_PAGES_DIR", str(tmp_path / "pages"))
    task_id = make_task(3)
    annotate_task(task_id, credentials, function=FUNCTION, labels=ALLOW)
    [file] = (tmp_path / "pages").iterdir()
    assert len(frames_of(file)) == 3
    assert link_of(task_id) == [f"[Review the frames]({file.as_uri()})"]


def test_link_leads_to_the_web_server_that_serves_the_folder(
    credentials, client, make_task, tmp_path, monkeypatch
):
    monkeypatch.setenv("PREFECT_CVAT_PAGES_DIR", str(tmp_path))
    monkeypatch.setenv("PREFECT_CVAT_PAGES_URL", "https://reports.example.com/cvat/")
    task_id = make_task(2)
    label = client.labels(task_id)[0].id
    box = {"type": "rectangle", "frame": 0, "label_id": label, "points": [1, 2, 30, 40], "source": "manual"}
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [box]})
    evaluate_task(task_id, credentials, function=FUNCTION, labels=ALLOW)
    [file] = tmp_path.iterdir()
    assert link_of(task_id) == [f"[Review the frames](https://reports.example.com/cvat/{file.name})"]


def test_broken_mask_of_somebody_else_is_not_drawn(credentials, client, make_task, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_PAGES_DIR", str(tmp_path))
    task_id = make_task(1)
    label, [job] = client.labels(task_id)[0].id, client.jobs(task_id)
    mask = {"type": "mask", "frame": 0, "label_id": label, "points": [0, 50, 0, 0, 3, 3], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [mask]})
    assert annotate_task(task_id, credentials, function=FUNCTION, labels=ALLOW).added == 1
    [file] = tmp_path.iterdir()
    assert "not drawn: 1 shape whose points are wrong" in file.read_text()
    assert len(link_of(task_id)) == 1


def test_run_goes_on_without_a_folder_for_its_page(credentials, client, make_task, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("PREFECT_CVAT_PAGES_DIR", str(tmp_path / "a file" / "pages"))
    task_id = make_task(1)
    report = annotate_task(task_id, credentials, function=FUNCTION, labels=ALLOW)
    assert report.added == 1
    assert link_of(task_id) == []
