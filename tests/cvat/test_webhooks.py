"""CVAT's webhooks: registering them in the sandbox, over HTTP."""

import json
import re
from uuid import uuid4

import pytest
from pydantic import SecretStr

from prefect_cvat import Client
from prefect_cvat.cvat.webhooks import (
    EVENTS,
    READY_EVENT,
    known_events,
    list_webhooks,
    ping_webhook,
    register_webhook,
)
from prefect_cvat.exceptions import InvalidResponseError, PermissionDeniedError
from prefect_cvat.http.retry_policy import RetryPolicy
from scripted_server import HTML, JSON, Answer, scripted_server

SECRET = SecretStr("correct-horse-battery-staple")


@pytest.fixture
def project_id(client):
    return client.json("POST", "/api/projects", body={"name": "a project", "labels": []})["id"]


@pytest.fixture
def organization(client):
    slug = f"org-{uuid4().hex[:8]}"
    client.json("POST", "/api/organizations", body={"slug": slug, "name": slug})
    return slug


@pytest.fixture
def target():
    """Something that answers a ping."""
    with scripted_server(Answer(200, b"ready", {})) as server:
        yield f"{server.url}/webhooks"


def of_project(client, project_id):
    return [webhook for webhook in list_webhooks(client) if webhook.project_id == project_id]


def test_creates_a_project_webhook_and_pings_it(client, project_id, target):
    done = register_webhook(client, target, SECRET, project_id=project_id)
    assert done.action == "created"
    assert done.unknown == ()
    assert done.ping.status_code == 200
    assert done.webhook.events == set(EVENTS) - {"create:project"}
    [webhook] = of_project(client, project_id)
    assert webhook == done.webhook
    assert (webhook.target_url, webhook.type, webhook.is_active) == (target, "project", True)
    first, last = done.lines()
    assert first.startswith(f"webhook {webhook.id} of project {project_id}, to {target}: created")
    assert last == "the receiver has answered a ping with 200"


def test_registering_twice_changes_nothing(client, project_id, target):
    before = register_webhook(client, target, SECRET, project_id=project_id)
    again = register_webhook(client, target, SECRET, project_id=project_id)
    assert again.action == "unchanged"
    assert again.webhook == before.webhook
    assert len(of_project(client, project_id)) == 1


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, {"is_active": False}),
        ({}, {"enable_ssl": False}),
        ({}, {"events": ["update:job"]}),
        ({"events": [READY_EVENT]}, {}),
        ({"verify_tls": False}, {}),
    ],
)
def test_updates_a_different_webhook(settings, change, client, project_id, target):
    before = register_webhook(client, target, SECRET, project_id=project_id).webhook
    if change:
        client.json("PATCH", f"/api/webhooks/{before.id}", body=change)
    done = register_webhook(client, target, SECRET, project_id=project_id, **settings)
    assert done.action == "updated"
    [webhook] = of_project(client, project_id)
    assert webhook.id == before.id
    assert webhook.is_active
    assert webhook.enable_ssl == settings.get("verify_tls", True)
    assert webhook.events == set(settings.get("events", set(EVENTS) - {"create:project"}))


def test_keeps_other_webhooks(client, project_id, target):
    other = client.json("POST", "/api/projects", body={"name": "another", "labels": []})["id"]
    mine = {"target_url": f"{target}/mine", "type": "project", "project_id": project_id}
    mine = client.json("POST", "/api/webhooks", body={**mine, "events": ["update:job"]})["id"]
    register_webhook(client, target, SECRET, project_id=other)
    assert register_webhook(client, target, SECRET, project_id=project_id).action == "created"
    assert client.json("GET", f"/api/webhooks/{mine}")["events"] == ["update:job"]
    assert len(of_project(client, other)) == 1


def test_creates_an_organization_webhook(client, organization, target):
    done = register_webhook(client, target, SECRET, organization=organization)
    assert (done.action, done.webhook.type, done.webhook.project_id) == ("created", "organization", None)
    assert done.webhook.events == set(EVENTS)
    assert " of the organization, to " in done.lines()[0]
    assert register_webhook(client, target, SECRET, organization=organization).action == "unchanged"
    assert [webhook.id for webhook in list_webhooks(client, organization=organization)] == [done.webhook.id]


def test_explains_what_to_do_if_the_receiver_does_not_respond(client, project_id):
    done = register_webhook(client, "http://127.0.0.1:9/webhooks", SECRET, project_id=project_id)
    assert done.action == "created"
    assert not done.ping.succeeded
    assert "no receiver has answered a ping (502" in done.lines()[-1]
    assert "prefect-cvat webhooks" in done.lines()[-1]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "it runs with another secret"),
        (404, "is http://127.0.0.1:.* the address of `prefect-cvat webhooks`"),
        (503, "no receiver has answered"),
    ],
)
def test_explains_the_response_to_a_ping(status, words, client, project_id):
    with scripted_server(Answer(status, b"", {})) as server:
        done = register_webhook(client, f"{server.url}/webhooks", SECRET, project_id=project_id)
    assert done.ping.status_code == status
    assert re.search(words, done.lines()[-1])


def test_signs_the_ping(client, project_id):
    with scripted_server(Answer(200, b"", {})) as server:
        done = register_webhook(client, f"{server.url}/webhooks", SECRET, project_id=project_id)
        assert ping_webhook(client, done.webhook.id).succeeded
    assert [path for _, path, _ in server.requests] == ["/webhooks"] * 2
    assert all(headers["X-Signature-256"].startswith("sha256=") for _, _, headers in server.requests)


def test_lists_the_events_of_the_server(client):
    assert READY_EVENT in known_events(client, "project")
    assert "create:project" not in known_events(client, "project")
    assert set(EVENTS) <= known_events(client, "organization")


def test_recommends_the_schedule_before_cvat_2_73():
    keys = ["create:task", "update:task", "delete:task", "update:job", "update:project", "delete:project"]
    webhook = {
        "id": 3,
        "target_url": "http://127.0.0.1:8081/webhooks",
        "type": "project",
        "project_id": 2,
        "events": keys,
    }
    answers = [
        {"webhook_type": "project", "events": [{"key": key} for key in keys]},
        {"count": 0, "next": None, "previous": None, "results": []},
        webhook,
        {"status_code": 200, "response": "ready"},
    ]
    with scripted_server(
        *[Answer(body=json.dumps(answer).encode(), headers=JSON) for answer in answers]
    ) as cvat:
        done = register_webhook(
            Client(cvat.url, access_token="t"), webhook["target_url"], SECRET, project_id=2
        )
    assert done.unknown == (READY_EVENT, "create:job", "delete:job")
    assert "schedule the flow `find new tasks`" in done.lines()[1]


def test_lists_all_pages_of_webhooks():
    def page(number, following):
        results = [{"id": number, "target_url": "http://127.0.0.1/", "type": "project"}]
        body = {"count": 2, "next": following, "previous": None, "results": results}
        return Answer(body=json.dumps(body).encode(), headers=JSON)

    with scripted_server(page(2, "http://127.0.0.1/api/webhooks?page=2"), page(1, None)) as cvat:
        found = list_webhooks(Client(cvat.url, access_token="t"))
    assert [webhook.id for webhook in found] == [2, 1]
    assert "page=2" in cvat.requests[1][1]


@pytest.mark.parametrize("places", [{}, {"project_id": 1, "organization": "org"}])
def test_requires_a_project_or_an_organization(places, client):
    with pytest.raises(ValueError, match="to a project or to an organization"):
        register_webhook(client, "http://127.0.0.1:9/", SECRET, **places)


@pytest.mark.parametrize("secret", ["", "x" * 65])
def test_refuses_invalid_secrets_without_showing_them(secret, client):
    with pytest.raises(ValueError, match="1 to 64 characters") as error:
        register_webhook(client, "http://127.0.0.1:9/", SecretStr(secret), project_id=1)
    assert "xxx" not in str(error.value)


def test_reports_missing_permission_for_webhooks(sandbox, client, project_id, target):
    name = f"stranger-{uuid4().hex[:8]}"
    body = {"username": name, "email": f"{name}@example.com", "first_name": "", "last_name": ""}
    body |= {"password1": "correct-horse-7", "password2": "correct-horse-7"}
    client.json("POST", "/api/auth/register", body=body)
    with Client(sandbox.url) as stranger:
        stranger.login((name, "correct-horse-7"))
        with pytest.raises(PermissionDeniedError):
            register_webhook(stranger, target, SECRET, project_id=project_id)


def test_refuses_invalid_webhook_responses():
    quick = RetryPolicy(give_up_after=0.0)
    with (
        scripted_server(Answer(body=b'{"events": [1]}')) as cvat,
        pytest.raises(InvalidResponseError, match=r"webhooks/events is not what CVAT sends: events\.0"),
    ):
        known_events(Client(cvat.url, access_token="t", retry=quick), "project")
    with (
        scripted_server(Answer(body=b"<html>", headers=HTML)) as cvat,
        pytest.raises(InvalidResponseError, match="JSON was expected"),
    ):
        list_webhooks(Client(cvat.url, access_token="t", retry=quick))
