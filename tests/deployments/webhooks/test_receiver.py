"""From a delivery of CVAT to an event of Prefect."""

import logging
import time
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest
from prefect import flow
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.events import EventTrigger, RunDeployment
from pydantic import SecretStr

from pictures import picture
from polling import until
from prefect_cvat import Client
from prefect_cvat.cvat.webhooks import register_webhook
from prefect_cvat.http.server_url import server_slug
from prefect_cvat.sandbox import Sandbox
from webhook_bodies import (
    closed_port,
    ready_body,
    resource_id,
    task_body,
)

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


def test_ready_task_is_emitted_with_its_name_and_project(deliver, sandbox, client, task_id, events_of):
    answer = deliver(ready_body(task_id))
    assert (answer.status_code, answer.text) == (202, "cvat.task.ready")
    [event] = events_of(resource_id(sandbox, task_id), 1)
    task = client.task(task_id)
    assert event.event == "cvat.task.ready"
    assert event.payload == {
        "task_id": task_id,
        "task_name": "a task",
        "project_id": task.project_id,
        "status": "annotation",
        "server": sandbox.url,
    }
    assert event.resource.name == "a task"
    assert event.resource_in_role["project"].name == "a project"


def test_a_task_whose_data_failed_is_emitted_with_the_reason(deliver, sandbox, task_id, events_of):
    assert deliver(ready_body(task_id, "failed", "no images")).status_code == 202
    [event] = events_of(resource_id(sandbox, task_id), 1)
    assert event.event == "cvat.task.failed"
    assert event.payload["message"] == "no images"
    assert event.payload["task_name"] == "a task"


def test_deleted_task_sends_no_event(deliver, receiver, sandbox, emitted, events_of):
    assert deliver(ready_body(999_999)).status_code == 202
    emitted(receiver)
    assert events_of(resource_id(sandbox, 999_999), 1, seconds=3) == []


def test_invisible_task_is_sent_without_name(
    prefect_server, credentials, start_receiver, deliver, sandbox, task_id, events_of
):
    wrong = credentials.model_copy(update={"password": SecretStr("wrong")})
    receiver = start_receiver(credentials=wrong)
    assert deliver(ready_body(task_id), to=receiver).status_code == 202
    [event] = events_of(resource_id(sandbox, task_id), 1)
    assert event.payload == {"task_id": task_id, "server": sandbox.url}


def test_automation_starts_one_run_with_the_task_id(deliver, sandbox, task_id):
    @flow
    def annotate(task_id: int): ...

    with get_client(sync_client=True) as prefect:
        deployment = prefect.create_deployment(prefect.create_flow(annotate), f"by event {uuid4()}")
    Automation(
        name="annotate new tasks",
        trigger=EventTrigger(
            expect={"cvat.task.ready"},
            match={"prefect.resource.id": f"cvat.task.{server_slug(sandbox.url)}.*"},
            for_each={"prefect.resource.id"},
            posture="Reactive",
            threshold=1,
        ),
        actions=[
            RunDeployment(deployment_id=deployment, parameters={"task_id": "{{ event.payload.task_id }}"})
        ],
    ).create()
    time.sleep(1)  # until the server's triggers know of it

    # two webhooks, of the project and of the organization, report one task
    for webhook_id in (2, 3):
        assert deliver({**ready_body(task_id), "webhook_id": webhook_id}).status_code == 202

    def runs():
        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        with get_client(sync_client=True) as prefect:
            return prefect.read_flow_runs(flow_run_filter=wanted)

    until(runs, every=0.2)
    time.sleep(2)  # for a second one, if there were one
    assert [run.parameters for run in runs()] == [{"task_id": task_id}]


def test_a_ping_is_answered_and_logged_and_emits_nothing(deliver, receiver, caplog):
    caplog.set_level(logging.INFO)
    answer = deliver({"event": "ping", "webhook": {"id": 12}, "sender": {"username": "admin"}})
    assert answer.status_code == 200
    assert "received the ping of webhook 12, with a valid signature" in caplog.text
    assert httpx.get(f"{receiver.url}/health").json() == {"status": "ok", "pending": 0}


@pytest.fixture
def hooked(client, receiver, secret):
    """A project with a webhook to the receiver."""
    project = client.json("POST", "/api/projects", body={"name": "hooked", "labels": [{"name": "car"}]})
    done = register_webhook(client, f"{receiver.url}/webhooks", secret, project_id=project["id"])
    assert done.ping.succeeded
    return project["id"]


def test_new_task_is_ready_once_and_own_writes_are_ignored(client, receiver, hooked, sandbox, events_of):
    task_id = client.create_task("a task", [], project_id=hooked).id
    client.upload_images(task_id, {"a.png": picture()})
    found = events_of(resource_id(sandbox, task_id), 3)
    assert sorted(event.event for event in found) == [
        "cvat.job.created",
        "cvat.task.created",
        "cvat.task.ready",
    ]
    ready = next(event for event in found if event.event == "cvat.task.ready")
    assert ready.payload["project_id"] == hooked
    [job] = client.jobs(task_id)
    [label] = client.labels(task_id)
    shape = {"type": "rectangle", "frame": 0, "label_id": label.id, "points": [1, 1, 9, 9], "source": "auto"}
    client.create_job_annotations(job.id, {"shapes": [shape], "tags": [], "tracks": []})
    client.json("PATCH", f"/api/tasks/{task_id}", body={"name": "by us"})
    assert len(events_of(resource_id(sandbox, task_id), 4, seconds=3)) == 3


def test_an_update_by_an_annotator_is_an_event_of_the_job(client, receiver, hooked, sandbox, events_of):
    task_id = client.create_task("a task", [], project_id=hooked).id
    client.upload_images(task_id, {"a.png": picture()})
    [job] = client.jobs(task_id)
    with new_user(sandbox, client) as annotator:
        client.json(
            "PATCH", f"/api/jobs/{job.id}", body={"assignee": annotator.json("GET", "/api/users/self")["id"]}
        )
        annotator.json("PATCH", f"/api/jobs/{job.id}", body={"state": "completed"})
    job_resource = f"cvat.job.{server_slug(sandbox.url)}.{job.id}"
    [updated] = [event for event in events_of(job_resource, 2) if event.event == "cvat.job.updated"]
    assert updated.payload["state"] == "completed"
    assert updated.payload["changed"] == "state"
    assert updated.payload["task_id"] == task_id


def test_ping_reveals_wrong_secret_and_registering_again_repairs_it(client, receiver, secret):
    project = client.json("POST", "/api/projects", body={"name": "hooked", "labels": []})
    url = f"{receiver.url}/webhooks"
    done = register_webhook(client, url, SecretStr("another one"), project_id=project["id"])
    assert done.action == "created"
    assert "refused the signature of a ping (401): it runs with another secret" in done.lines()[-1]
    done = register_webhook(client, url, secret, project_id=project["id"])
    assert done.action == "unchanged"
    assert done.lines()[-1] == "the receiver has answered a ping with 200"


@contextmanager
def new_user(sandbox, client):
    name = f"annotator-{uuid4().hex[:8]}"
    client.json(
        "POST",
        "/api/auth/register",
        body={
            "username": name,
            "email": f"{name}@example.com",
            "password1": "correct-horse-7",
            "password2": "correct-horse-7",
            "first_name": "",
            "last_name": "",
        },
    )
    with Client(sandbox.url) as annotator:
        annotator.login((name, "correct-horse-7"))
        yield annotator


@pytest.mark.parametrize("event", ["create:issue", "completed:request[export:dataset]", "something:new"])
def test_ignores_unknown_event(event, deliver):
    answer = deliver({"event": event, "sender": None})
    assert (answer.status_code, answer.content) == (204, b"")


def test_ignores_updates_by_own_user_only(
    prefect_server, deliver, start_receiver, sandbox, task_id, events_of
):
    receiver = start_receiver(ignored_users=["robot"])
    assert deliver(task_body(task_id, sender=sandbox.user), to=receiver).status_code == 204
    assert deliver(task_body(task_id, sender="robot"), to=receiver).status_code == 204
    assert deliver(task_body(task_id, sender="bob"), to=receiver).status_code == 202
    assert deliver(task_body(task_id, "create:task", sender="robot"), to=receiver).status_code == 202
    found = events_of(resource_id(sandbox, task_id), 2)
    assert [event.event for event in found] == ["cvat.task.updated", "cvat.task.created"]


def test_ignores_updates_of_only_dates(deliver, task_id):
    assert deliver(task_body(task_id, changed=("updated_date",))).status_code == 204


def test_asks_again_for_own_user_if_cvat_does_not_answer(
    prefect_server, credentials, start_receiver, deliver
):
    with closed_port() as port:
        elsewhere = credentials.model_copy(update={"url": f"http://127.0.0.1:{port}"})
        receiver = start_receiver(credentials=elsewhere)
        assert deliver(task_body(1, sender="admin"), to=receiver).status_code == 202
    with Sandbox(port=port):
        until(lambda: deliver(task_body(1, sender="admin"), to=receiver).status_code == 204)
