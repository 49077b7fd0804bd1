"""Parsing of webhook bodies, recorded from CVAT 2.73."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.events import Event

from prefect_cvat.deployments.webhooks.webhook_to_event_or_ignored import Ignored, Ping, read_webhook
from prefect_cvat.exceptions import InvalidResponseError

RECORDED = json.loads(Path(__file__).with_name("webhooks_of_cvat_2_73.json").read_text())
PING, CREATED, UPDATED = RECORDED
SERVER = "https://cvat.example.com"
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)

TASK_REQUEST = {
    "status": "finished",
    "message": "",
    "id": "action=create&target=task&target_id=131",
    "operation": {
        "type": "create:task",
        "target": "task",
        "project_id": None,
        "task_id": 131,
        "job_id": None,
        "org_id": None,
        "format": None,
        "lightweight": None,
    },
    "progress": 0.0,
    "owner": {"id": 1, "username": "admin"},
}
JOB = {
    "id": 9,
    "task_id": 151,
    "task_name": "hooked",
    "project_id": 2,
    "project_name": "lab project",
    "organization": 3,
    "assignee": {"id": 5, "username": "alice"},
    "type": "annotation",
    "stage": "validation",
    "state": "completed",
}


def read(body, *, ignored_users=()):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_webhook(content, server=SERVER, ignored_users=ignored_users, received=NOW)


def completed(**request):
    return {
        "event": "completed:request[create:task]",
        "request": {**TASK_REQUEST, **request},
        "webhook_id": 2,
    }


def updated(resource, state, changes, **further):
    sender = {"id": 7, "username": "bob"}
    return {
        "event": f"update:{resource}",
        resource: state,
        "sender": sender,
        "changes": changes,
        "before_update": {name: change["from"] for name, change in changes.items()},
        **further,
    }


def change(*names):
    return {name: {"from": "a", "to": "b"} for name in names}


def test_a_recorded_ping_names_its_webhook():
    assert read(PING) == Ping(2)


def test_a_recorded_new_task_is_an_event_of_the_task_with_flat_payload():
    event = read(CREATED)
    assert event.event == "cvat.task.created"
    assert event.resource.id == "cvat.task.cvat-example-com.151"
    assert event.resource.name == "hooked"
    assert event.occurred == NOW
    assert event.payload == {
        "task_id": 151,
        "task_name": "hooked",
        "project_id": 2,
        "status": "annotation",
        "server": SERVER,
    }
    [project] = event.related
    assert (project.role, project.id, project.name) == (
        "project",
        "cvat.project.cvat-example-com.2",
        "lab project",
    )


def test_payload_values_are_labels():
    event = read(updated("job", JOB, change("state", "updated_date")))
    labels = dict(event.resource.items())
    assert labels["cvat.state"] == "completed"
    assert labels["cvat.stage"] == "validation"
    assert labels["cvat.project_id"] == "2"
    assert labels["cvat.changed"] == "state"


def test_update_lists_changed_fields_without_dates():
    event = read(UPDATED)
    assert event.event == "cvat.task.updated"
    assert event.payload["changed"] == "name"
    assert event.payload["task_name"] == "hooked 2"


def test_an_event_of_a_job_is_related_to_its_task_project_and_organization():
    event = read({"event": "create:job", "job": JOB, "sender": None})
    assert event.event == "cvat.job.created"
    assert event.resource.id == "cvat.job.cvat-example-com.9"
    assert event.payload == {
        "job_id": 9,
        "task_id": 151,
        "task_name": "hooked",
        "project_id": 2,
        "organization": 3,
        "assignee": "alice",
        "type": "annotation",
        "stage": "validation",
        "state": "completed",
        "server": SERVER,
    }
    assert {related.role: related.id for related in event.related} == {
        "task": "cvat.task.cvat-example-com.151",
        "project": "cvat.project.cvat-example-com.2",
        "organization": "cvat.organization.cvat-example-com.3",
    }


def test_an_event_of_a_project():
    project = {"id": 2, "name": "lab project", "status": "annotation", "assignee": None, "organization": None}
    event = read(updated("project", project, change("name")))
    assert event.event == "cvat.project.updated"
    assert event.resource.id == "cvat.project.cvat-example-com.2"
    assert event.payload["project_id"] == 2
    assert event.payload["changed"] == "name"


@pytest.mark.parametrize(
    ("resource", "state"), [("task", CREATED["task"]), ("job", JOB), ("project", {"id": 2})]
)
@pytest.mark.parametrize(
    ("action", "past"), [("create", "created"), ("update", "updated"), ("delete", "deleted")]
)
def test_each_resource_has_an_event_for_each_action(resource, state, action, past):
    event = read({"event": f"{action}:{resource}", resource: state, "sender": None})
    assert event.event == f"cvat.{resource}.{past}"
    assert all(type(value) in (str, int) for value in event.payload.values())


def test_finished_request_is_a_ready_event():
    event = read(completed())
    assert event.event == "cvat.task.ready"
    assert event.resource.id == "cvat.task.cvat-example-com.131"
    assert event.payload == {"task_id": 131, "server": SERVER}


def test_failed_request_is_a_failed_event_with_message():
    event = read(completed(status="failed", message="x" * 5000))
    assert event.event == "cvat.task.failed"
    assert event.payload["message"] == "x" * 1000


def test_ignores_unfinished_request():
    assert read(completed(status="started")) == Ignored("completed:request[create:task] has status 'started'")


@pytest.mark.parametrize(
    "event",
    [
        "completed:request[export:dataset]",
        "create:issue",
        "update:organization",
        "purge:task",
        "task",
        "create:",
        "",
        "create:task:task",
    ],
)
def test_ignores_unknown_events(event):
    assert isinstance(read({"event": event, "sender": None}), Ignored)


@pytest.mark.parametrize("resource", ["task", "job", "project"])
def test_ignores_updates_of_dates(resource):
    state = {"id": 1, "task_id": 1}
    assert read(updated(resource, state, change("updated_date"))) == Ignored(
        f"update:{resource} changes only dates"
    )
    assert isinstance(
        read(updated(resource, state, change("updated_date", "assignee_updated_date"))), Ignored
    )
    assert isinstance(read(updated(resource, state, {})), Ignored)


def test_changed_assignee_is_an_event():
    event = read(updated("job", JOB, change("assignee", "assignee_updated_date", "updated_date")))
    assert event.payload["changed"] == "assignee"


def test_reads_before_update_of_older_servers():
    body = {**UPDATED}
    del body["changes"]
    assert read(body).payload["changed"] == "name"
    body["before_update"] = {"updated_date": "2026-11-22T07:53:01.437401Z"}
    assert isinstance(read(body), Ignored)


def test_update_without_changes_is_an_event():
    body = {name: value for name, value in UPDATED.items() if name not in ("changes", "before_update")}
    event = read(body)
    assert event.event == "cvat.task.updated"
    assert "changed" not in event.payload


def test_ignores_updates_but_not_new_tasks_of_ignored_users():
    assert read(UPDATED, ignored_users={"admin"}) == Ignored("update:task by the ignored user admin")
    assert isinstance(read(UPDATED, ignored_users={"robot"}), Event)
    assert isinstance(read(CREATED, ignored_users={"admin"}), Event)


def test_event_id_depends_on_the_body():
    assert read(CREATED).id == read(CREATED).id
    assert read(CREATED).id != read(UPDATED).id
    other = read_webhook(
        json.dumps(CREATED).encode(), server="http://127.0.0.1:8080", ignored_users=(), received=NOW
    )
    assert other.id != read(CREATED).id
    assert other.resource.id == "cvat.task.localhost-8080.151"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "name of an event"),
        (b'{"event": 7}', "name of an event"),
        (b'{"event": "create:task"}', "the body of create:task is not valid: task"),
        (b'{"event": "create:task", "task": []}', "task"),
        (b'{"event": "create:task", "task": {"id": "x"}}', r"task\.id"),
        (b'{"event": "create:task", "task": {"id": -1}}', r"task\.id"),
        (b'{"event": "create:task", "task": {"id": 1, "assignee": "me"}}', r"task\.assignee"),
        (b'{"event": "completed:request[create:task]"}', "request"),
        (
            b'{"event": "completed:request[create:task]", "request": {"status": "finished", "operation": {}}}',
            r"request\.operation\.task_id",
        ),
        (
            b'{"event": "completed:request[create:task]",'
            b' "request": {"status": "finished", "operation": {"task_id": 0}}}',
            r"request\.operation\.task_id",
        ),
    ],
)
def test_refuses_invalid_bodies_and_names_the_field(body, message):
    with pytest.raises(InvalidResponseError, match=message):
        read(body)


@pytest.mark.parametrize("sender", [None, {}, [], "admin", {"username": None}, {"username": ["admin"]}])
def test_accepts_unexpected_sender(sender):
    assert isinstance(read({**UPDATED, "sender": sender}, ignored_users={"robot"}), Event)


def test_name_cannot_set_another_label():
    task = {**CREATED["task"], "name": '"},{"prefect.resource.id":"cvat.task.x.1'}
    event = read({**CREATED, "task": task})
    assert event.resource.id == "cvat.task.cvat-example-com.151"
    assert event.resource.name == task["name"]
