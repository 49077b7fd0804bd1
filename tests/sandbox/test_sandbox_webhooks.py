"""Webhooks: events and their order, delivery, permissions."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cvat_sdk import Client, models
from cvat_sdk.api_client.exceptions import NotFoundException
from cvat_sdk.core.client import BackgroundRequestException
from cvat_sdk.core.proxies.tasks import Task

from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_connection import connect
from sandbox.sandbox_http import Http
from sandbox.webhook_receiver import Receiver, eventually

SECRET = "what the signatures are made with"
RECTANGLE = {"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}
EVERY_EVENT = [
    *(f"{action}:{resource}" for resource in ("task", "job") for action in ("create", "update", "delete")),
    "update:project",
    "completed:request[create:task]",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox(webhook_retry_seconds=(0.05, 0.1)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def project(http: Http) -> int:
    return make_project(http)


def make_project(http: Http, name: str = "p", **headers: str) -> int:
    body = {"name": name, "labels": [{"name": "car"}]}
    return int(http.json("POST", "/api/projects", body, status=201, **headers)["id"])


def make_webhook(http: Http, url: str, project: int | None, *events: str, **changes: Any) -> dict[str, Any]:
    body = {
        "target_url": url,
        "type": "project",
        "project_id": project,
        "events": list(events or EVERY_EVENT),
        "secret": SECRET,
        **changes,
    }
    found: dict[str, Any] = http.json("POST", "/api/webhooks", body, status=201)
    return found


def make_task(client: Client, project: int, pictures: list[Path], **parameters: Any) -> Task:
    spec = models.TaskWriteRequest(name="t", project_id=project, **parameters)
    return client.tasks.create_from_data(spec, pictures[:4])


def rename(http: Http, task: int, name: str) -> None:
    http.json("PATCH", f"/api/tasks/{task}", {"name": name})


def empty_task(http: Http, project: int | None) -> int:
    return int(http.json("POST", "/api/tasks", {"name": "t", "project_id": project}, status=201)["id"])


def deliveries(http: Http, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    """Oldest first."""
    found = http.json("GET", f"/api/webhooks/{webhook['id']}/deliveries?page_size=all")["results"]
    return list(reversed(found))


def received(receiver: Receiver, event: str) -> list[dict[str, Any]]:
    return [one.body for one in receiver.wait_for_events(event) if one.event == event]


# What they are told.


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
            # As a server leaves it that was killed meanwhile.
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
    eventually(lambda: len(deliveries(http, webhook)) == 3)
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


# How it is sent.


def test_ping_is_sent_at_once_and_returns_delivery(http: Http, receiver: Receiver, project: int) -> None:
    webhook = make_webhook(http, receiver.url, project, is_active=False)
    delivery = http.json("POST", f"/api/webhooks/{webhook['id']}/ping")
    [received] = receiver.wait_for(1)
    assert received.is_signed_with(SECRET)
    assert not received.is_signed_with("another")
    assert received.body["webhook"] == webhook
    assert delivery["request"] == received.body
    assert (delivery["event"], delivery["status_code"], delivery["response"]) == ("ping", 200, "ok")
    shown = http.json("GET", f"/api/webhooks/{webhook['id']}")
    assert shown["last_status"] == 200
    assert shown["last_delivery_date"] == delivery["updated_date"]
    path = f"/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}"
    assert http.json("GET", path) == delivery


def test_webhook_without_secret_is_not_signed(http: Http, receiver: Receiver, project: int) -> None:
    webhook = make_webhook(http, receiver.url, project, secret="")
    http.json("POST", f"/api/webhooks/{webhook['id']}/ping")
    assert "x-signature-256" not in receiver.wait_for(1)[0].headers


def test_unreachable_receiver_is_502_and_retried(http: Http, project: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/hook"
    webhook = make_webhook(http, url, project, "update:task")
    ping = http.json("POST", f"/api/webhooks/{webhook['id']}/ping")
    assert ping["status_code"] == 502
    assert "refused" in ping["response"]
    rename(http, empty_task(http, project), "renamed")
    eventually(lambda: len(deliveries(http, webhook)) == 4)
    assert [(one["attempt"], one["status_code"]) for one in deliveries(http, webhook)[1:]] == [
        (1, 502),
        (2, 502),
        (3, 502),
    ]


def test_receiver_timeout_is_504(
    http: Http, receiver: Receiver, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_cvat.sandbox.webhook_delivery.webhook_sender._READ_SECONDS", 0.1)
    webhook = make_webhook(http, receiver.url, project)
    receiver.hold()
    assert http.json("POST", f"/api/webhooks/{webhook['id']}/ping")["status_code"] == 504


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_retries_failed_delivery(http: Http, project: int, status: int) -> None:
    with Receiver([status, status]) as receiver:
        webhook = make_webhook(http, receiver.url, project, "update:task")
        rename(http, empty_task(http, project), "renamed")
        found = receiver.wait_for(3)
        eventually(lambda: len(deliveries(http, webhook)) == 3)
    assert len({one.raw for one in found}) == 1
    assert all(one.is_signed_with(SECRET) for one in found)
    assert [(one["status_code"], one["attempt"]) for one in deliveries(http, webhook)] == [
        (status, 1),
        (status, 2),
        (200, 3),
    ]


def test_gives_up_after_last_retry_and_does_not_retry_refusals(http: Http, project: int) -> None:
    with Receiver([500, 500, 500, 400]) as receiver:
        webhook = make_webhook(http, receiver.url, project, "update:task")
        task = empty_task(http, project)
        rename(http, task, "never taken")
        receiver.wait_for(3)
        rename(http, task, "refused")
        receiver.wait_for(4)
        rename(http, task, "taken")
        names = [one.body["task"]["name"] for one in receiver.wait_for(5)]
        eventually(lambda: len(deliveries(http, webhook)) == 5)
    assert names == ["never taken"] * 3 + ["refused", "taken"]
    assert [one["status_code"] for one in deliveries(http, webhook)] == [500, 500, 500, 400, 200]


def test_does_not_follow_redirects(http: Http, project: int) -> None:
    with Receiver([302]) as receiver:
        webhook = make_webhook(http, receiver.url, project)
        assert http.json("POST", f"/api/webhooks/{webhook['id']}/ping")["status_code"] == 302
        assert receiver.events == ["ping"]


def test_slow_receiver_blocks_no_request_and_gets_events_in_order(
    http: Http, receiver: Receiver, project: int
) -> None:
    webhook = make_webhook(http, receiver.url, project, "update:task")
    task = empty_task(http, project)
    receiver.hold()
    names = [f"name {index}" for index in range(12)]
    start = time.monotonic()
    for name in names:
        rename(http, task, name)
    assert time.monotonic() - start < 5
    assert receiver.wait_for(1)[0].body["task"]["name"] == names[0]
    assert deliveries(http, webhook) == []
    receiver.release()
    assert [one.body["task"]["name"] for one in receiver.wait_for(12)] == names


def test_redelivers_a_delivery(http: Http, receiver: Receiver, project: int) -> None:
    webhook = make_webhook(http, receiver.url, project, "update:task")
    rename(http, empty_task(http, project), "renamed")
    receiver.wait_for(1)
    eventually(lambda: len(deliveries(http, webhook)) == 1)
    [first] = deliveries(http, webhook)
    assert first["redelivery"] is False
    http.json("POST", f"/api/webhooks/{webhook['id']}/deliveries/{first['id']}/redelivery")
    one, other = receiver.wait_for(2)
    assert one.raw == other.raw
    eventually(lambda: len(deliveries(http, webhook)) == 2)
    second = deliveries(http, webhook)[1]
    assert (second["redelivery"], second["attempt"]) == (True, 1)
    unknown = f"/api/webhooks/{webhook['id']}/deliveries/{second['id'] + 1}"
    assert http.send("GET", unknown).status == 404
    assert http.send("POST", f"{unknown}/redelivery").status == 404


def test_deleted_webhook_gets_no_events(http: Http, receiver: Receiver, project: int) -> None:
    doomed = make_webhook(http, receiver.url, project, "update:task")
    kept = make_webhook(http, receiver.url, project, "update:task")
    task = empty_task(http, project)
    receiver.hold()
    rename(http, task, "one")
    receiver.wait_for(1)
    rename(http, task, "two")
    assert http.send("DELETE", f"/api/webhooks/{doomed['id']}").status == 204
    receiver.release()
    found = receiver.wait_for(3)
    assert [(one.body["webhook_id"], one.body["task"]["name"]) for one in found] == [
        (doomed["id"], "one"),
        (kept["id"], "one"),
        (kept["id"], "two"),
    ]
    assert http.send("GET", f"/api/webhooks/{doomed['id']}/deliveries").status == 404


def test_stop_does_not_wait_for_receiver_and_restart_sends_the_rest(
    receiver: Receiver, tmp_path: Path
) -> None:
    with Sandbox(tmp_path) as server:
        http = Http(server)
        project = make_project(http)
        webhook = make_webhook(http, receiver.url, project, "update:task")
        task = empty_task(http, project)
        receiver.hold()
        rename(http, task, "under way")
        rename(http, task, "queued")
        receiver.wait_for(1)
        start = time.monotonic()
    assert time.monotonic() - start < 3
    receiver.release()
    with Sandbox(tmp_path) as again:
        found = receiver.wait_for(3)
        eventually(lambda: len(deliveries(Http(again), webhook)) == 2)
    assert [one.body["task"]["name"] for one in found] == ["under way", "under way", "queued"]


def test_stop_does_not_wait_for_retry(tmp_path: Path) -> None:
    with Receiver([503]) as receiver:
        with Sandbox(tmp_path, webhook_retry_seconds=(60,)) as server:
            http = Http(server)
            project = make_project(http)
            webhook = make_webhook(http, receiver.url, project, "update:task")
            rename(http, empty_task(http, project), "renamed")
            eventually(lambda: len(deliveries(http, webhook)) == 1)
            start = time.monotonic()
        assert time.monotonic() - start < 3


# Which there are, and who may have them.


def test_responses_never_contain_the_secret(http: Http, receiver: Receiver, project: int) -> None:
    secret = "do not tell"
    body = {
        "target_url": receiver.url,
        "type": "project",
        "project_id": project,
        "events": ["update:task"],
        "secret": secret,
    }
    created = http.send("POST", "/api/webhooks", body)
    path = f"/api/webhooks/{json.loads(created.data)['id']}"
    rename(http, empty_task(http, project), "renamed")
    receiver.wait_for(1)
    answers = [
        created,
        http.send("GET", path),
        http.send("GET", "/api/webhooks"),
        http.send("PATCH", path, {"secret": secret}),
        http.send("PUT", path, body),
        http.send("POST", f"{path}/ping"),
        http.send("GET", f"{path}/deliveries"),
    ]
    assert [answer.status for answer in answers] == [201, 200, 200, 200, 200, 200, 200]
    for received in receiver.wait_for(2):
        assert received.is_signed_with(secret)
    seen = [answer.data for answer in answers] + [str(one).encode() for one in receiver.wait_for(2)]
    assert not [data for data in seen if secret.encode() in data]


def test_sdk_manages_webhooks(http: Http, client: Client, receiver: Receiver, project: int) -> None:
    api = client.api_client.webhooks_api
    webhook, _ = api.create(
        models.WebhookWriteRequest(
            target_url=receiver.url,
            type=models.WebhookType("project"),
            project_id=project,
            events=[models.EventsEnum("update:task")],
            secret=SECRET,
        )
    )
    assert (webhook.is_active, webhook.enable_ssl, webhook.description) == (True, True, "")
    page, _ = api.list(project_id=project)
    assert [found.id for found in page.results] == [webhook.id]
    changed, _ = api.partial_update(
        webhook.id, patched_webhook_write_request=models.PatchedWebhookWriteRequest(description="mine")
    )
    assert (changed.description, changed.events) == ("mine", webhook.events)
    delivery, _ = api.create_ping(webhook.id)
    assert receiver.wait_for(1)[0].is_signed_with(SECRET)
    found, _ = api.retrieve_deliveries(str(delivery.id), webhook.id)
    assert (found.status_code, found.event) == (200, "ping")
    api.create_deliveries_redelivery(str(delivery.id), webhook.id)
    assert receiver.wait_for(2)[1].event == "ping"
    eventually(lambda: api.list_deliveries(webhook.id)[0].count == 2)
    events, _ = api.retrieve_events(type="project")
    assert "completed:request[create:task]" in [event.key for event in events.events]
    api.destroy(webhook.id)
    with pytest.raises(NotFoundException):
        api.retrieve(webhook.id)


def test_lists_events_of_each_type(http: Http) -> None:
    def keys(webhook_type: str) -> list[str]:
        shown = http.json("GET", f"/api/webhooks/events?type={webhook_type}")
        assert shown["webhook_type"] == webhook_type
        return [event["key"] for event in shown["events"]]

    of_projects, of_organizations = keys("project"), keys("organization")
    assert (len(of_projects), len(of_organizations)) == (21, 28)
    assert set(of_organizations) - set(of_projects) == {
        "create:project",
        "update:organization",
        "create:invitation",
        "delete:invitation",
        "create:membership",
        "update:membership",
        "delete:membership",
    }
    assert http.json("GET", "/api/webhooks/events?type=x", status=400) == "Incorrect value of type parameter"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"target_url": ...}, {"target_url": ["This field is required."]}),
        ({"target_url": None}, {"target_url": ["This field may not be null."]}),
        ({"target_url": ""}, {"target_url": ["This field may not be blank."]}),
        ({"target_url": "127.0.0.1:80/x"}, {"target_url": ["Enter a valid URL."]}),
        ({"target_url": "http://"}, {"target_url": ["Enter a valid URL."]}),
        ({"target_url": "http://127.0.0.1:port/"}, {"target_url": ["Enter a valid URL."]}),
        ({"target_url": "http://127.0.0.1/a b"}, {"target_url": ["Enter a valid URL."]}),
        ({"type": ...}, {"type": ["This field is required."]}),
        ({"type": "task"}, {"type": ['"task" is not a valid choice.']}),
        ({"events": ...}, {"events": ["This field is required."]}),
        ({"events": "create:task"}, {"events": ['Expected a list of items but got type "str".']}),
        ({"events": ["some:event"]}, {"events": ['"some:event" is not a valid choice.']}),
        ({"events": ["create:project"]}, {"non_field_errors": ["Invalid events list for project webhook"]}),
        ({"events": []}, {"non_field_errors": ["Invalid events list for project webhook"]}),
        ({"content_type": "text/plain"}, {"content_type": ['"text/plain" is not a valid choice.']}),
        ({"is_active": "perhaps"}, {"is_active": ["Must be a valid boolean."]}),
        ({"project_id": "one"}, {"project_id": ["A valid integer is required."]}),
        ({"secret": "x" * 65}, {"secret": ["Ensure this field has no more than 64 characters."]}),
        ({"description": []}, {"description": ["Not a valid string."]}),
        ({"project_id": 999_999}, ["Could not find project with provided id: 999999"]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_refuses_invalid_webhook_with_message_of_cvat(
    http: Http, project: int, changes: dict[str, Any], complaint: Any
) -> None:
    body = {
        "target_url": "http://127.0.0.1:9/hook",
        "type": "project",
        "project_id": project,
        "events": ["create:task"],
        **changes,
    }
    sent = {name: value for name, value in body.items() if value is not ...}
    assert http.json("POST", "/api/webhooks", sent, status=400) == complaint
    assert http.json("GET", f"/api/webhooks?project_id={project}")["count"] == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://192.168.0.1/hook",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://0.0.0.0:80/",
        "http://localhost.example.com/",
        "ftp://127.0.0.1/hook",
    ],
)
def test_refuses_target_url_on_other_machine(http: Http, project: int, url: str) -> None:
    body = {"target_url": url, "type": "project", "project_id": project, "events": ["create:task"]}
    complaint = http.json("POST", "/api/webhooks", body, status=400)["target_url"][0]
    assert "The sandbox, which is not CVAT, sends webhooks to this machine only" in complaint
    assert url in complaint
    webhook = make_webhook(http, "http://localhost:9/hook", project)
    http.json("PATCH", f"/api/webhooks/{webhook['id']}", {"target_url": url}, status=400)
    assert http.json("GET", f"/api/webhooks/{webhook['id']}")["target_url"] == "http://localhost:9/hook"


@pytest.mark.parametrize("url", ["http://[::1]/hook", "https://localhost/hook", "http://127.8.8.8:1/?a=b"])
def test_accepts_loopback_target_url(http: Http, project: int, url: str) -> None:
    assert make_webhook(http, url, project)["target_url"] == url


@pytest.mark.parametrize(
    "changes",
    [{"project_id": None}, {"type": "organization", "project_id": None}, {"type": "organization"}],
    ids=["no project", "no organization", "a project and an organization"],
)
def test_webhook_without_project_and_organization_is_500(
    http: Http, project: int, changes: dict[str, Any]
) -> None:
    body = {"target_url": "http://127.0.0.1:9/", "type": "project", "project_id": project}
    refused = http.send("POST", "/api/webhooks", {**body, "events": ["create:task"], **changes})
    assert refused.status == 500


def test_update_keeps_type_and_project(http: Http, project: int) -> None:
    webhook = make_webhook(http, "http://127.0.0.1:9/", project, "create:task", "update:task")
    path = f"/api/webhooks/{webhook['id']}"
    moved = {"type": "organization", "project_id": make_project(http), "events": ["delete:task"]}
    changed = http.json("PATCH", path, moved)
    assert changed["updated_date"] > webhook["updated_date"]
    assert changed == {**webhook, "events": ["delete:task"], "updated_date": changed["updated_date"]}
    assert http.json("PUT", path, {"events": ["update:job"]}, status=400) == {
        "target_url": ["This field is required."]
    }
    put = {"events": ["update:job"], "target_url": "http://127.0.0.1:8/"}
    assert http.json("PUT", path, put)["target_url"] == "http://127.0.0.1:8/"
    of_organizations = {"events": ["update:organization"]}
    assert "non_field_errors" in http.json("PATCH", path, of_organizations, status=400)


def test_project_webhooks_need_ownership(http: Http, receiver: Receiver, project: int) -> None:
    account = {"username": "guest", "password1": "p", "password2": "p"}
    guest = http.json("POST", "/api/auth/register", account, status=201)
    as_guest = {"Authorization": f"Token {guest['key']}"}
    own = make_project(http, "of the guest", **as_guest)
    me = http.json("GET", "/api/users/self", **as_guest)["id"]
    webhook = make_webhook(http, receiver.url, project)
    path = f"/api/webhooks/{webhook['id']}"
    delivery = http.json("POST", f"{path}/ping")["id"]
    body = {"target_url": receiver.url, "type": "project", "events": ["create:task"]}

    def status(method: str, path: str, body: Any = None) -> int:
        return http.send(method, path, body, **as_guest).status

    assert status("POST", "/api/webhooks", {**body, "project_id": project}) == 403
    http.json("PATCH", f"/api/projects/{project}", {"assignee_id": me})
    assert status("POST", "/api/webhooks", {**body, "project_id": project}) == 403
    assert status("GET", path) == 403
    assert status("PATCH", path, {"is_active": False}) == 403
    assert status("DELETE", path) == 403
    assert status("POST", f"{path}/ping") == 403
    assert status("GET", f"{path}/deliveries") == 403
    assert status("GET", f"{path}/deliveries/{delivery}") == 403
    assert status("POST", f"{path}/deliveries/{delivery}/redelivery") == 403
    assert http.json("GET", "/api/webhooks", **as_guest)["count"] == 0
    mine = http.json("POST", "/api/webhooks", {**body, "project_id": own}, status=201, **as_guest)
    assert http.json("GET", "/api/webhooks", **as_guest)["results"] == [mine]
    assert status("GET", "/api/webhooks/999999") == 404
    assert status("DELETE", f"/api/webhooks/{mine['id']}") == 204
    assert http.send("GET", path, anonymous=True).status == 401


def test_organization_webhooks_need_maintainer(http: Http) -> None:
    def account(name: str) -> dict[str, str]:
        body = {"username": name, "password1": "p", "password2": "p"}
        return {
            "Authorization": f"Token {http.json('POST', '/api/auth/register', body, status=201)['key']}",
            "X_Organization": "led",
        }

    leader, stranger = account("leader"), account("stranger")
    alone = {"Authorization": leader["Authorization"]}
    http.json("POST", "/api/organizations", {"slug": "led"}, status=201, **alone)
    body = {"target_url": "http://127.0.0.1:9/", "type": "organization", "events": ["create:task"]}
    assert http.send("POST", "/api/webhooks", body, **alone).status == 403
    assert http.send("POST", "/api/webhooks", body, **stranger).status == 403
    webhook = http.json("POST", "/api/webhooks", body, status=201, **leader)
    path = f"/api/webhooks/{webhook['id']}"
    assert http.send("GET", path, Authorization=stranger["Authorization"]).status == 403
    assert http.json("GET", path, **alone) == webhook
    assert http.json("GET", "/api/webhooks", **leader)["results"] == [webhook]


def test_filters_webhooks(http: Http, project: int) -> None:
    first = make_webhook(http, "http://127.0.0.1:9/first", project, description="one of two")
    second = make_webhook(http, "http://127.0.0.1:9/second", project)

    def found(query: str) -> list[int]:
        return [
            one["id"] for one in http.json("GET", f"/api/webhooks?project_id={project}&{query}")["results"]
        ]

    assert found("") == [second["id"], first["id"]]
    assert found("target_url=http://127.0.0.1:9/first") == [first["id"]]
    assert found("search=two") == [first["id"]]
    assert found("sort=id&page_size=1") == [first["id"]]
    assert found("type=organization") == []
