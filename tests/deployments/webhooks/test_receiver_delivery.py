"""Events are sent once, in order, over restarts and servers that are down; the receiver answers at once."""

import json
import logging
import shutil
import statistics
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from polling import until
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.deployments.webhooks.event_relay import EventRelay
from prefect_cvat.http.server_url import server_slug
from prefect_cvat.sandbox import Sandbox
from scripted_server import HTML, Answer, scripted_server
from webhook_bodies import (
    closed_port,
    forwarded,
    ready_body,
    resource_id,
    task_body,
)


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

    from prefect_cvat.deployments.webhooks import webhook_store as deliveries

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
