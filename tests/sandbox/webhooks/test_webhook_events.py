"""Which events webhooks get, in which order."""

from pathlib import Path

import pytest
from cvat_sdk import Client
from cvat_sdk.core.client import BackgroundRequestException

from polling import until
from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_connection import connect
from sandbox.sandbox_http import Http
from sandbox.webhook_receiver import Receiver
from sandbox.webhooks.webhook_requests import (
    RECTANGLE,
    SECRET,
    deliveries,
    empty_task,
    make_project,
    make_task,
    make_webhook,
    received,
    rename,
)


def test_sends_events_for_new_task_and_for_its_data(
    http: Http, client: Client, receiver: Receiver, project: int, pictures: list[Path]
) -> None:
    webhook = make_webhook(http, receiver.url, project)
    task = make_task(client, project, pictures, segment_size=2)
    found = receiver.wait_for_events("completed:request[create:task]")

    assert all(one.is_signed_with(SECRET) for one in found)
    assert all(one.body["webhook_id"] == webhook["id"] for one in found)
    assert [one.event for one in found] == [
        "create:task",
        "update:project",
        "create:job",
        "create:job",
        "update:task",
        "update:project",
        "completed:request[create:task]",
    ]
    created = found[0].body
    assert created["task"]["id"] == task.id
    assert created["task"]["data"] is None
    assert "size" not in created["task"]
    assert created["sender"]["username"] == http.server.user
    completed = found[-1].body
    assert set(completed) == {"event", "webhook_id", "request"}
    assert completed["request"]["status"] == "finished"
    assert completed["request"]["operation"]["task_id"] == task.id
    assert completed["request"]["operation"]["project_id"] == project
    path = f"/api/requests/action%3Dcreate%26target%3Dtask%26target_id%3D{task.id}"
    assert completed["request"] == http.json("GET", path)


def test_sends_event_for_failed_data_creation(
    http: Http, client: Client, receiver: Receiver, project: int, tmp_path: Path
) -> None:
    make_webhook(http, receiver.url, project, "completed:request[create:task]")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(BackgroundRequestException):
        make_task(client, project, [broken])
    [body] = received(receiver, "completed:request[create:task]")
    assert body["request"]["status"] == "failed"
    assert "broken.png" in body["request"]["message"]


def test_sends_event_for_data_creation_of_killed_server(
    receiver: Receiver, tmp_path: Path, pictures: list[Path]
) -> None:
    with Sandbox(tmp_path) as server, connect(server) as client:
        http = Http(server)
        project = make_project(http)
        task = make_task(client, project, pictures)
        make_webhook(http, receiver.url, project, "completed:request[create:task]")
        state = server._state
        with state.database.write() as db:
            # As a killed server leaves it.
            db.execute("UPDATE request SET status = 'started' WHERE task_id = ?", (task.id,))
    with Sandbox(tmp_path):
        [body] = received(receiver, "completed:request[create:task]")
    assert body["request"]["status"] == "failed"
    assert body["request"]["operation"]["task_id"] == task.id


@pytest.mark.parametrize("level", ["tasks", "jobs"])
def test_annotation_write_sends_update_of_the_date(
    http: Http, client: Client, receiver: Receiver, project: int, pictures: list[Path], level: str
) -> None:
    task = make_task(client, project, pictures, segment_size=2)
    first = min(job.id for job in task.get_jobs())
    before = http.json("GET", f"/api/tasks/{task.id}")["updated_date"]
    webhook = make_webhook(http, receiver.url, project)
    path = f"/api/{level}/{task.id if level == 'tasks' else first}/annotations?action=create"
    shape = {**RECTANGLE, "label_id": task.get_labels()[0].id}
    http.json("PATCH", path, {"shapes": [shape]})

    job, changed, whole = (one.body for one in receiver.wait_for(3))
    assert [job["event"], changed["event"], whole["event"]] == [
        "update:job",
        "update:task",
        "update:project",
    ]
    assert (job["job"]["id"], changed["task"]["id"], whole["project"]["id"]) == (first, task.id, project)
    for body in (job, changed, whole):
        assert list(body["before_update"]) == ["updated_date"]
        assert list(body["changes"]) == ["updated_date"]
        assert body["changes"]["updated_date"]["from"] == body["before_update"]["updated_date"]
        assert body["changes"]["updated_date"]["to"] > body["before_update"]["updated_date"]
    assert changed["before_update"]["updated_date"] == before
    assert changed["changes"]["updated_date"]["to"] == changed["task"]["updated_date"]
    until(lambda: len(deliveries(http, webhook)) == 3)
    assert {one["changed_fields"] for one in deliveries(http, webhook)} == {"updated_date"}


def test_refused_or_empty_annotations_send_no_event(
    http: Http, client: Client, receiver: Receiver, project: int, pictures: list[Path]
) -> None:
    task = make_task(client, project, pictures)
    make_webhook(http, receiver.url, project)
    path = f"/api/tasks/{task.id}/annotations?action=create"
    http.json("PATCH", path, {"shapes": [{**RECTANGLE, "label_id": 999_999}]}, status=400)
    http.json("PATCH", path, {"shapes": []})
    rename(http, task.id, "renamed")
    assert receiver.wait_for(1)[0].body["before_update"]["name"] == "t"


def test_job_state_change_sends_events_of_job_and_task(
    http: Http, client: Client, receiver: Receiver, project: int, pictures: list[Path]
) -> None:
    task = make_task(client, project, pictures)
    [job] = task.get_jobs()
    me = http.json("GET", "/api/users/self")["id"]
    make_webhook(http, receiver.url, project, "update:job", "update:task")
    http.json("PATCH", f"/api/jobs/{job.id}", {"stage": "acceptance", "state": "completed", "assignee": me})
    of_job, of_task = (one.body for one in receiver.wait_for(2))
    assert {name: change["to"] for name, change in of_job["changes"].items() if "date" not in name} == {
        "assignee_id": me,
        "stage": "acceptance",
        "state": "completed",
        "status": "completed",
    }
    assert of_job["job"]["assignee"]["id"] == me
    assert of_task["changes"]["status"] == {"from": "annotation", "to": "completed"}
    assert of_task["task"]["jobs"]["completed"] == 1


def test_deleted_task_sends_events_after_its_jobs(
    http: Http, client: Client, receiver: Receiver, project: int, pictures: list[Path]
) -> None:
    task = make_task(client, project, pictures, segment_size=2)
    last = http.json("GET", f"/api/tasks/{task.id}")
    make_webhook(http, receiver.url, project, "delete:task", "delete:job")
    task.remove()
    found = receiver.wait_for(3)
    assert [one.event for one in found] == ["delete:job", "delete:job", "delete:task"]
    assert found[2].body["task"] == last
    assert found[2].body["sender"]["username"] == http.server.user


def test_sends_events_for_created_and_deleted_ground_truth_job(
    http: Http, client: Client, receiver: Receiver, project: int, pictures: list[Path]
) -> None:
    task = make_task(client, project, pictures)
    make_webhook(http, receiver.url, project, "create:job", "delete:job")
    body = {"task_id": task.id, "type": "ground_truth", "frame_selection_method": "manual", "frames": [1]}
    job = http.json("POST", "/api/jobs", body, status=201)
    assert http.send("DELETE", f"/api/jobs/{job['id']}").status == 204
    created, deleted = (one.body for one in receiver.wait_for(2))
    assert (created["event"], deleted["event"]) == ("create:job", "delete:job")
    assert created["job"] == deleted["job"] == job


def test_only_active_webhooks_get_their_events(http: Http, receiver: Receiver, project: int) -> None:
    other, task = make_project(http), empty_task(http, project)
    make_webhook(http, receiver.url, other)
    sleeping = make_webhook(http, receiver.url, project, is_active=False)
    make_webhook(http, receiver.url, project, "delete:task")
    mine = make_webhook(http, receiver.url, project, "update:task")
    rename(http, empty_task(http, None), "of no project")
    rename(http, task, "one")
    http.json("PATCH", f"/api/webhooks/{sleeping['id']}", {"is_active": True})
    http.json("PATCH", f"/api/webhooks/{mine['id']}", {"is_active": False})
    rename(http, task, "two")
    names = {
        (one.body["webhook_id"], one.event, one.body.get("task", {}).get("name"))
        for one in receiver.wait_for(3)
    }
    assert names == {
        (mine["id"], "update:task", "one"),
        (sleeping["id"], "update:task", "two"),
        (sleeping["id"], "update:project", None),
    }


def test_organization_webhook_gets_events_of_all_projects(http: Http, receiver: Receiver) -> None:
    inside = {"X_Organization": "hooked"}
    slug = {"slug": "hooked"}
    organization = http.json("POST", "/api/organizations", slug, status=201)["id"]
    body = {
        "target_url": receiver.url,
        "type": "organization",
        "events": ["create:project", "delete:project", "create:task", "delete:task"],
    }
    webhook = http.json("POST", "/api/webhooks", body, status=201, **inside)
    assert (webhook["organization"], webhook["project_id"]) == (organization, None)
    make_project(http, "outside")
    project = make_project(http, "inside", **inside)
    task = http.json("POST", "/api/tasks", {"name": "t", "project_id": project}, status=201)
    assert http.send("DELETE", f"/api/projects/{project}").status == 204
    found = [one.body for one in receiver.wait_for(4)]
    assert [one["event"] for one in found] == [
        "create:project",
        "create:task",
        "delete:task",
        "delete:project",
    ]
    assert found[0]["project"]["name"] == found[3]["project"]["name"] == "inside"
    assert found[1]["task"] == task
    listed = http.json("GET", "/api/webhooks", **inside)["results"]
    assert [one["id"] for one in listed] == [webhook["id"]]
