"""A task that a run has annotated and people correct; what is learned from it is kept in a folder of the test."""

import pytest

from corrected_tasks import Boxes, People
from pictures import picture
from prefect_cvat import annotate_task


@pytest.fixture(autouse=True)
def learned_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PREFECT_CVAT_LEARNED_DIR", str(tmp_path / "learned"))
    return tmp_path / "learned"


@pytest.fixture
def make_project(client):
    """Create a project with labels."""

    def create(*names):
        labels = [{"name": name} for name in names or ("car", "person")]
        return client._transport.json("POST", "/api/projects", body={"name": "p", "labels": labels})["id"]

    return create


@pytest.fixture
def remove_label(client):
    """Remove a label from a project."""

    def remove(project, name):
        found = client._transport.json("GET", f"/api/labels?project_id={project}")["results"]
        [number] = [label["id"] for label in found if label["name"] == name]
        client._transport.json("DELETE", f"/api/labels/{number}")

    return remove


@pytest.fixture
def make_task(client, make_task):
    """Create a task; one of a project has the labels of the project."""

    def create(frames=6, *, project_id=None, **fields):
        if project_id is None:
            return make_task(frames, **fields)
        task = client.create_task("a task", [], project_id=project_id)
        images = {f"{number:04}.png": picture(64, 48, seed=number) for number in range(frames)}
        client.upload_images(task.id, images)
        return task.id

    return create


@pytest.fixture
def annotated(client, make_task):
    """Annotate a new task."""

    def create(frames=6, function=None, *, options=None, **fields):
        people = People(client, make_task(frames, **fields))
        annotate_task(client, people.task_id, function or Boxes(), use_cache=False, **(options or {}))
        return people

    return create
