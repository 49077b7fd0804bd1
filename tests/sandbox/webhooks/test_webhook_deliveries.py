"""Deliveries of webhooks: signatures, retries, redeliveries, stops of the server."""

import time
from pathlib import Path

import pytest

from polling import until
from ports import free_port
from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_http import Http
from sandbox.webhook_receiver import Receiver
from sandbox.webhooks.webhook_requests import (
    SECRET,
    deliveries,
    empty_task,
    make_project,
    make_webhook,
    rename,
)


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
    url = f"http://127.0.0.1:{free_port()}/hook"
    webhook = make_webhook(http, url, project, "update:task")
    ping = http.json("POST", f"/api/webhooks/{webhook['id']}/ping")
    assert ping["status_code"] == 502
    assert "refused" in ping["response"]
    rename(http, empty_task(http, project), "renamed")
    until(lambda: len(deliveries(http, webhook)) == 4)
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
        until(lambda: len(deliveries(http, webhook)) == 3)
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
        until(lambda: len(deliveries(http, webhook)) == 5)
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
    until(lambda: len(deliveries(http, webhook)) == 1)
    [first] = deliveries(http, webhook)
    assert first["redelivery"] is False
    http.json("POST", f"/api/webhooks/{webhook['id']}/deliveries/{first['id']}/redelivery")
    one, other = receiver.wait_for(2)
    assert one.raw == other.raw
    until(lambda: len(deliveries(http, webhook)) == 2)
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
        until(lambda: len(deliveries(Http(again), webhook)) == 2)
    assert [one.body["task"]["name"] for one in found] == ["under way", "under way", "queued"]


def test_stop_does_not_wait_for_retry(tmp_path: Path) -> None:
    with Receiver([503]) as receiver:
        with Sandbox(tmp_path, webhook_retry_seconds=(60,)) as server:
            http = Http(server)
            project = make_project(http)
            webhook = make_webhook(http, receiver.url, project, "update:task")
            rename(http, empty_task(http, project), "renamed")
            until(lambda: len(deliveries(http, webhook)) == 1)
            start = time.monotonic()
        assert time.monotonic() - start < 3
