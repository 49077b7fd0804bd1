"""A user who is assigned jobs."""

import pytest

from cvat.assigned_jobs import NUMBERS
from prefect_cvat import Client


@pytest.fixture
def annotator(sandbox):
    """A user who may see nothing until a job is assigned."""
    name = f"annotator{next(NUMBERS)}"
    with Client(sandbox.url) as client:
        body = {"username": name, "password1": "p", "password2": "p"}
        client._transport.json("POST", "/api/auth/register", body=body, anonymous=True)
        client.login((name, "p"))
        yield client


@pytest.fixture
def assign(client, annotator):
    """Assign jobs of a task, by their places; return their numbers."""

    def assign(task_id, *places):
        jobs = [client.jobs(task_id)[place] for place in places]
        for job in jobs:
            body = {"assignee": annotator.user().id}
            client.json("PATCH", f"/api/jobs/{job.id}", body=body)
        return [job.id for job in jobs]

    return assign
