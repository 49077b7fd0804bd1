"""Deliveries that the receiver refuses: signatures, sizes, contents."""

import json
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from prefect_cvat.deployments.webhooks import endpoint
from webhook_bodies import (
    ready_body,
    resource_id,
    task_body,
)


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
