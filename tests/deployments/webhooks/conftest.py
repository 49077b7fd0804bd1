"""A task of a project."""

import pytest


@pytest.fixture
def task_id(client) -> int:
    """A task in the sandbox, of a project."""
    project = client.json("POST", "/api/projects", body={"name": "a project", "labels": [{"name": "car"}]})
    return client.create_task("a task", [], project_id=project["id"]).id
