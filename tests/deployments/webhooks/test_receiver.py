"""The receiver of webhooks: over real HTTP, before a real Prefect server, with the sandbox for CVAT."""

import json
import logging
import os
import shutil
import signal
import socket
import socketserver
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from prefect import flow
from prefect.automations import Automation
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.events import EventTrigger, RunDeployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from pictures import picture
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.cvat.webhooks import register_webhook
from prefect_cvat.deployments.webhooks import endpoint
from prefect_cvat.deployments.webhooks.event_relay import EventRelay
from prefect_cvat.http.server_url import server_slug
from prefect_cvat.sandbox import Sandbox
from scripted_server import HTML, Answer, scripted_server

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own

CREATED = json.loads(Path(__file__).with_name("webhooks_of_cvat_2_73.json").read_text())[1]


@pytest.fixture
def task_id(client) -> int:
    """A task in the sandbox, of a project."""
    project = client.json("POST", "/api/projects", body={"name": "a project", "labels": [{"name": "car"}]})
    return client.create_task("a task", [], project_id=project["id"]).id


def task_body(task_id, event="update:task", *, sender="bob", changed=("name",), **fields):
    body = {
        "event": event,
        "webhook_id": 2,
        "task": {**CREATED["task"], "id": task_id, "updated_date": str(uuid4()), **fields},
        "sender": {"id": 7, "username": sender},
    }
    if event.startswith("update"):
        body["changes"] = {name: {"from": "a", "to": "b"} for name in changed}
    return body


def ready_body(task_id, status="finished", message=""):
    operation = {"type": "create:task", "target": "task", "task_id": task_id}
    request = {"status": status, "message": message, "operation": operation}
    return {"event": "completed:request[create:task]", "request": request, "webhook_id": 2}


def resource_id(sandbox, task_id):
    return f"cvat.task.{server_slug(sandbox.url)}.{task_id}"


# --- from a delivery to an event ---


def test_a_task_that_is_ready_is_emitted_with_its_name_and_project(
    deliver, sandbox, client, task_id, events_of
):
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


def test_an_automation_starts_one_run_with_the_tasks_number(deliver, sandbox, task_id):
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

    # two webhooks, of the project and of the organization, tell of one task
    for webhook_id in (2, 3):
        assert deliver({**ready_body(task_id), "webhook_id": webhook_id}).status_code == 202

    def runs():
        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        with get_client(sync_client=True) as prefect:
            return prefect.read_flow_runs(flow_run_filter=wanted)

    deadline = time.monotonic() + 20
    while not runs() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)  # for a second one, if there were one
    assert [run.parameters for run in runs()] == [{"task_id": task_id}]


def test_a_ping_is_answered_and_logged_and_emits_nothing(deliver, receiver, caplog):
    caplog.set_level(logging.INFO)
    answer = deliver({"event": "ping", "webhook": {"id": 12}, "sender": {"username": "admin"}})
    assert answer.status_code == 200
    assert "received the ping of webhook 12, with a valid signature" in caplog.text
    assert httpx.get(f"{receiver.url}/health").json() == {"status": "ok", "pending": 0}


# --- with CVAT's own sender, as the sandbox has it ---


@pytest.fixture
def hooked(client, receiver, secret):
    """A project whose webhook goes to the receiver."""
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


# --- what is refused ---


@pytest.mark.parametrize(
    "forge",
    [
        lambda sign, content: {},
        lambda sign, content: {"X-Signature-256": ""},
        lambda sign, content: {"X-Signature-256": sign(content, "another secret")},
        lambda sign, content: {"X-Signature-256": sign(content + b" ")},
        lambda sign, content: {"X-Signature-256": sign(content).removeprefix("sha256=")},
        lambda sign, content: {"X-Signature-256": sign(content)[:-1]},
        lambda sign, content: {"X-Signature-256": b"sha256=" + b"\xff\xe9" * 16},
        lambda sign, content: {"X-Signature": sign(content)},
    ],
    ids=["none", "empty", "another secret", "of another body", "no scheme", "cut", "not ascii", "other name"],
)
def test_refuses_invalid_signature(forge, deliver, receiver, sign, task_id):
    content = json.dumps(task_body(task_id)).encode()
    assert deliver(content, headers=forge(sign, content)).status_code == 401
    assert httpx.get(f"{receiver.url}/health").json()["pending"] == 0


def test_forged_webhook_sends_no_event(deliver, sandbox, task_id, events_of):
    assert deliver(ready_body(task_id), secret="a guess").status_code == 401
    assert events_of(resource_id(sandbox, task_id), 1, seconds=3) == []


def test_checks_size_then_signature_then_json(deliver):
    assert deliver(b"x" * 2**21, secret="a guess").status_code == 413
    assert deliver(b"no json", secret="a guess").status_code == 401
    assert deliver(b"no json").status_code == 400


def test_does_not_read_body_with_too_large_content_length(receiver):
    with raw_request(receiver, "Content-Length: 1048577") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_refuses_body_that_grows_too_large(receiver):
    with raw_request(receiver, "Transfer-Encoding: chunked") as connection:
        part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(17):
            connection.sendall(part)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_accepts_body_of_maximum_size(prefect_server, monkeypatch, start_receiver, deliver):
    monkeypatch.setenv("PREFECT_CVAT_WEBHOOK_MAX_BYTES", "2000")
    receiver = start_receiver()
    assert deliver(b" " * 2000, to=receiver).status_code == 400
    assert deliver(b" " * 2001, to=receiver).status_code == 413


def test_answers_408_if_body_does_not_arrive(receiver, monkeypatch):
    monkeypatch.setattr(endpoint, "READ_SECONDS", 0.2)
    with raw_request(receiver, "Content-Length: 10") as connection:
        connection.sendall(b"x")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_survives_client_that_disconnects(receiver, deliver, caplog):
    with raw_request(receiver, "Content-Length: 10") as connection:
        connection.sendall(b"x")
    assert deliver({"event": "ping"}).status_code == 200
    assert "Traceback" not in caplog.text


@contextmanager
def raw_request(receiver, header):
    """A connection on which the head of a request has been sent."""
    address = urlsplit(receiver.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        head = f"POST /webhooks HTTP/1.1\r\nHost: {address.netloc}\r\n{header}\r\n\r\n"
        connection.sendall(head.encode())
        yield connection


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"ping"', b'{"event": "create:task"}'])
def test_refuses_invalid_webhooks(content, deliver):
    assert deliver(content).status_code == 400


def test_other_paths_and_methods_are_refused(receiver):
    assert httpx.post(f"{receiver.url}/").status_code == 404
    assert httpx.get(f"{receiver.url}/webhooks").status_code == 405


# --- what is ignored ---


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


# --- once, whatever happens ---


def test_repeated_webhook_is_sent_once_over_a_restart(
    deliver, receiver, start_receiver, sandbox, task_id, emitted, events_of
):
    body = task_body(task_id)
    assert [deliver(body).status_code for _ in range(3)] == [202, 200, 200]
    emitted(receiver)
    receiver.stop()
    again = start_receiver()
    assert deliver(body, to=again).status_code == 200
    assert deliver(task_body(task_id), to=again).status_code == 202
    assert len(events_of(resource_id(sandbox, task_id), 3, seconds=3)) == 2


def test_sends_events_in_order(deliver, sandbox, task_id, events_of):
    events = ["create:task", "update:task", "update:task", "delete:task"]
    assert [deliver(task_body(task_id, event)).status_code for event in events] == [202] * 4
    found = events_of(resource_id(sandbox, task_id), 4)
    names = ["created", "updated", "updated", "deleted"]
    assert [event.event for event in found] == [f"cvat.task.{name}" for name in names]


def test_stores_events_while_prefect_server_is_down(
    prefect_server, start_receiver, deliver, sandbox, task_id, events_of, caplog
):
    upstream = urlsplit(PREFECT_API_URL.value())
    with closed_port() as port, temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        receiver = start_receiver()
    started = time.monotonic()
    assert deliver(task_body(task_id), to=receiver).status_code == 202
    assert time.monotonic() - started < 1
    until(lambda: "events wait, as the Prefect server at http://127.0.0.1" in caplog.text)
    with forwarded(port, (upstream.hostname, upstream.port)):
        assert len(events_of(resource_id(sandbox, task_id), 1)) == 1
        until(lambda: httpx.get(f"{receiver.url}/health").json()["pending"] == 0)


def test_sends_stored_events_after_a_restart(
    prefect_server, start_receiver, deliver, sandbox, task_id, events_of
):
    with closed_port() as port, temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        receiver = start_receiver()
    body = task_body(task_id)
    assert deliver(body, to=receiver).status_code == 202
    receiver.stop()
    again = start_receiver()
    assert deliver(body, to=again).status_code == 200
    assert len(events_of(resource_id(sandbox, task_id), 2, seconds=3)) == 1


def test_sends_same_event_id_again_after_interruption(
    deliver, receiver, start_receiver, tmp_path, sandbox, task_id, emitted, events_of
):
    body = task_body(task_id)
    before = tmp_path / "before.sqlite3"
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        away = start_receiver(folder=tmp_path / "away")
    assert deliver(body, to=away).status_code == 202
    away.stop()
    shutil.copy(tmp_path / "away" / "webhooks.sqlite3", before)
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        shutil.copy(before, tmp_path / attempt / "webhooks.sqlite3")
        emitted(start_receiver(folder=tmp_path / attempt))
    assert len(events_of(resource_id(sandbox, task_id), 2, seconds=3)) == 1


def test_answers_503_if_event_cannot_be_stored(prefect_server, start_receiver, deliver, task_id):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        receiver = start_receiver(max_pending=2)
    bodies = [task_body(task_id) for _ in range(3)]
    assert [deliver(body, to=receiver).status_code for body in bodies] == [202, 202, 503]
    assert deliver(bodies[0], to=receiver).status_code == 200


def test_answers_503_if_file_is_locked(prefect_server, start_receiver, deliver, tmp_path, monkeypatch):
    import sqlite3

    from prefect_cvat.deployments.webhooks import deliveries

    monkeypatch.setattr(deliveries, "BUSY_SECONDS", 0.1)
    receiver = start_receiver()
    other = sqlite3.connect(tmp_path / "webhooks.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert deliver(task_body(1), to=receiver).status_code == 503
    assert httpx.get(f"{receiver.url}/health").status_code == 503
    other.execute("ROLLBACK")
    other.close()
    assert deliver(task_body(1), to=receiver).status_code == 202


def test_ready_tasks_wait_for_cvat_without_delaying_others(
    prefect_server, credentials, start_receiver, deliver, tmp_path, events_of
):
    with Sandbox(data=tmp_path / "cvat") as sandbox:
        credentials = credentials.model_copy(update={"url": sandbox.url})
        receiver = start_receiver(credentials=credentials)
        with credentials.get_client() as client:
            task_id = client.create_task("a task", [label_spec("car", None)]).id
    port = urlsplit(credentials.url).port
    slug = server_slug(credentials.url)
    assert deliver(ready_body(task_id), to=receiver).status_code == 202
    assert deliver(task_body(77), to=receiver).status_code == 202
    assert len(events_of(f"cvat.task.{slug}.77", 1)) == 1
    assert events_of(f"cvat.task.{slug}.{task_id}", 1, seconds=0) == []
    with Sandbox(data=tmp_path / "cvat", port=port):
        [event] = events_of(f"cvat.task.{slug}.{task_id}", 1)
    assert event.payload["task_name"] == "a task"


def test_shortens_texts_so_that_prefect_accepts_the_event(deliver, sandbox, task_id, events_of):
    assert deliver(task_body(task_id, name="n" * 900_000)).status_code == 202
    [event] = events_of(resource_id(sandbox, task_id), 1)
    assert event.payload["task_name"] == event.resource.name == "n" * 1000


def test_drops_event_that_prefect_server_refuses(start_receiver, deliver, caplog):
    no_csrf = Answer(422, b'{"detail": "CSRF protection is disabled."}')
    page = Answer(200, b"<html>", HTML)
    refused = Answer(422)
    taken = Answer(204, b"", {})
    with scripted_server(page, no_csrf, page, refused, taken) as prefect:
        with temporary_settings({PREFECT_API_URL: f"{prefect.url}/api"}):
            receiver = start_receiver()
        deliver(task_body(1), to=receiver)
        deliver(task_body(2), to=receiver)
        until(lambda: httpx.get(f"{receiver.url}/health").json()["pending"] == 0)
    assert caplog.text.count("is dropped: the Prefect server refuses it") == 1
    assert "the answer is not that of a Prefect server" in caplog.text
    assert "answered 200, but a Prefect server answers 204" in caplog.text


def test_receiver_ends_if_relay_fails(prefect_server, start_receiver, monkeypatch):
    async def break_down(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(EventRelay, "_send_all", break_down)
    receiver = start_receiver()
    assert receiver.ended.wait(10)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{receiver.url}/health")
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        receiver.stop()


# --- how it answers ---


def test_answers_within_milliseconds_while_sending_events(sign, receiver):
    contents = [json.dumps(task_body(number)).encode() for number in range(5001, 5101)]
    seconds = []
    with httpx.Client() as cvat:
        for content in contents:
            started = time.perf_counter()
            headers = {"X-Signature-256": sign(content)}
            answer = cvat.post(f"{receiver.url}/webhooks", content=content, headers=headers)
            seconds.append(time.perf_counter() - started)
            assert answer.status_code == 202
    print(f"median {statistics.median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms")
    assert statistics.median(seconds) < 0.1


def test_accepts_many_webhooks_at_a_time(deliver, receiver, emitted, events_of, sandbox, task_id):
    answers = []
    bodies = [task_body(task_id) for _ in range(40)]

    def send(part):
        answers.extend(deliver(body).status_code for body in part)

    threads = [threading.Thread(target=send, args=(bodies[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [202] * 40
    emitted(receiver)
    assert len(events_of(resource_id(sandbox, task_id), 40)) == 40


def test_logs_neither_secret_nor_password(
    prefect_server, credentials, start_receiver, deliver, secret, task_id, emitted, caplog
):
    caplog.set_level(logging.DEBUG)
    credentials = credentials.model_copy(update={"password": SecretStr("not-the-password")})
    receiver = start_receiver(credentials=credentials)
    deliver(ready_body(task_id), to=receiver)
    deliver(ready_body(task_id), to=receiver, secret="a guess")
    deliver(b"{", to=receiver)
    emitted(receiver)
    assert "cvat.task.ready" in caplog.text
    assert secret.get_secret_value() not in caplog.text
    assert "not-the-password" not in caplog.text
    assert secret.get_secret_value() not in repr(vars(receiver))


# --- the command ---


def command(*arguments, **environment):
    settings = {"PREFECT_API_URL": PREFECT_API_URL.value() or "", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "prefect_cvat", "webhooks", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", **settings},
    )


@pytest.fixture
def block(prefect_server, credentials):
    credentials.save("receiver-test", overwrite=True)
    return "receiver-test"


def test_command_serves_until_sigterm(block, sandbox, task_id, deliver, secret, events_of, tmp_path):
    Secret(value=secret.get_secret_value()).save("cvat-webhook", overwrite=True)
    with command("--credentials", block, PREFECT_CVAT_CACHE_DIR=str(tmp_path)) as process:
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready http://127.0.0.1:")

            class Receiver:
                url = ready.split()[1]

            assert deliver({"event": "ping", "webhook": {"id": 5}}, to=Receiver).status_code == 200
            assert deliver(ready_body(task_id), to=Receiver).status_code == 202
            assert deliver(task_body(task_id, sender=sandbox.user), to=Receiver).status_code == 204
            assert len(events_of(resource_id(sandbox, task_id), 1)) == 1
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "received the ping of webhook 5, with a valid signature" in err
    assert "cvat.task.ready" in err
    assert secret.get_secret_value() not in out + err


def test_command_without_secret_names_where_to_set_it(block):
    with get_client(sync_client=True) as prefect:
        for document in prefect.read_block_documents():
            if document.name == "cvat-webhook":
                prefect.delete_block_document(document.id)
    with command("--credentials", block) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert "Traceback" not in err
    assert "PREFECT_CVAT_WEBHOOK_SECRET" in err
    assert "secret/cvat-webhook" in err
    assert "prefect-cvat setup --webhook" in err


# --- for these tests ---


def until(condition, *, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.1)


@contextmanager
def closed_port():
    """A port on which nothing listens, and that nothing else gets within the block."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def forwarded(port, upstream):
    """A port that leads to another address."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.create_connection(upstream) as target:
                back = threading.Thread(target=copy, args=(target, self.request), daemon=True)
                back.start()
                copy(self.request, target)
                back.join()

    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Forward) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()
