"""Requests about webhooks: responses, checks, permissions."""

import json
from typing import Any

import pytest
from cvat_sdk import Client, models
from cvat_sdk.api_client.exceptions import NotFoundException

from polling import until
from sandbox.sandbox_http import Http
from sandbox.webhook_receiver import Receiver
from sandbox.webhooks.webhook_requests import (
    SECRET,
    empty_task,
    make_project,
    make_webhook,
    rename,
)


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
    until(lambda: api.list_deliveries(webhook.id)[0].count == 2)
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
