"""docs/operations.md: every block runs, on the Prefect server that it starts, and with a sandbox."""

import shutil
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from docs.pages import Page
from docs.shell import Printed, Shell
from e2e.processes import answers, wait_for
from pictures import picture
from ports import free_port
from prefect_cvat.deployments.prefect_yaml import PREFECT_YAML
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.http.server_url import server_slug
from prefect_cvat.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def sandbox():
    """One for the page alone, so that its task is task 1."""
    with Sandbox() as server:
        yield server


@pytest.fixture
def prefect_address(tmp_path, monkeypatch):
    """The address of the Prefect server that the page starts; its home is empty."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(port))
    monkeypatch.setenv("PREFECT_API_URL", f"http://{address}/api")
    monkeypatch.setenv("COLUMNS", "200")
    with temporary_settings({PREFECT_API_URL: f"http://{address}/api"}):
        yield address


@pytest.fixture
def project(client):
    """The number of a project with a task that was made last night."""
    body = {"name": "streets", "labels": [{"name": "person"}, {"name": "car"}]}
    project = client.json("POST", "/api/projects", body=body)["id"]
    task = client.create_task("night-1", [], project_id=project)
    client.upload_images(task.id, {"dark.png": picture()})
    return project


def test_the_page_runs(sandbox, client, project, prefect_address, shell, monkeypatch):
    start = Shell._start

    def start_and_wait(self: Shell, words: list[str]) -> Printed:
        printed = start(self, words)
        if words[:2] == ["prefect", "server"]:
            wait_for(lambda: answers(f"http://{prefect_address}/api/health"), 120, "the Prefect server")
        return printed

    monkeypatch.setattr(Shell, "_start", start_and_wait)
    token = client.json("POST", "/api/auth/access_tokens", body={"name": "operations"})["value"]
    shutil.copy(PREFECT_YAML, "prefect.yaml")  # the page asks for a copy
    receiver = f"127.0.0.1:{free_port()}"
    instead = {
        "127.0.0.1:4200": prefect_address,
        "https://cvat.example.com": sandbox.url,
        "cvat-example-com": server_slug(sandbox.url),
        "at cvat.example.com": f"at {sandbox.url.removeprefix('http://')}",
        "as robot": "as admin",
        "CVAT_ACCESS_TOKEN=...": f"CVAT_ACCESS_TOKEN={token}",
        "--project 7": f"--project {project}",
        "of project 7 at": f"of project {project} at",
        "of project 7,": f"of project {project},",
        "project_id=7": f"project_id={project}",
        '"project_id": 7': f'"project_id": {project}',
        "hooks.example.com:8081": receiver,
        "--host 0.0.0.0 --port 8081": f"--port {receiver.partition(':')[2]}",
        "0.0.0.0:8081": receiver,
    }
    Page(PAGE, shell, instead).run()
    assert CvatFunction.load("street").label_map == {"truck": "car", "traffic light": None}
