"""Many open connections to the receiver of webhooks do not block signed webhooks."""

import http.client
import resource
import select
import socket
import threading
import time
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from prefect_cvat.deployments.webhooks import connections, endpoint

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own

PING = {"event": "ping", "webhook": {"id": 1}}
HEAD = b"POST /webhooks HTTP/1.1\r\nHost: receiver\r\n"

BEGINNINGS = {
    "nothing": b"",
    "half a head": HEAD,
    "a head without a body": HEAD + b"Content-Length: 100\r\n\r\n",
    "half a body": HEAD + b"Content-Length: 100\r\n\r\nabc",
    "a chunk without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",
}


def connect(receiver, beginning=b""):
    address = urlsplit(receiver.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    connection.sendall(beginning)
    return connection


def is_closed(connection):
    """Whether the other side has closed a connection, without waiting for that."""
    try:
        while select.select([connection], [], [], 0)[0]:
            if not connection.recv(65536):
                return True
    except ConnectionError:
        return True
    return False


def seconds_until_closed(connection, *, most=10.0):
    started = time.monotonic()
    while not is_closed(connection):
        assert time.monotonic() - started < most, "the connection stays open"
        time.sleep(0.02)
    return time.monotonic() - started


def send_until_closed(connection, part, *, pause=0.0, most=10.0):
    """Send the same bytes until the other side closes the connection; return its answer."""
    started = time.monotonic()
    answer = b""
    try:
        while time.monotonic() - started < most:
            connection.sendall(part)
            if select.select([connection], [], [], pause)[0]:
                if not (came := connection.recv(1000)):
                    return answer
                answer += came
    except ConnectionError:
        return answer
    pytest.fail("the connection stays open")


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_accepts_webhook_despite_1000_connections_of_its_address(receiver, deliver, beginning):
    with ExitStack() as idle:
        for _ in range(1000):
            idle.enter_context(closing(connect(receiver, beginning)))
        started = time.monotonic()
        assert deliver(PING).status_code == 200
        assert time.monotonic() - started < 3  # CVAT waits so long for a connection


def test_accepts_webhooks_while_other_clients_keep_connecting(receiver, deliver):
    ended = threading.Event()

    def flood():
        with ExitStack() as idle:
            while not ended.is_set():
                idle.enter_context(closing(connect(receiver, HEAD)))
                time.sleep(0.002)

    strangers = [threading.Thread(target=flood) for _ in range(2)]
    for stranger in strangers:
        stranger.start()
    try:
        assert [deliver(PING).status_code for _ in range(20)] == [200] * 20
    finally:
        ended.set()
        for stranger in strangers:
            stranger.join()


def test_closes_oldest_connection(receiver, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 60)
    with ExitStack() as idle:
        opened = [
            idle.enter_context(closing(connect(receiver)))
            for _ in range(connections.MAX_CONNECTIONS // 2 + 3)
        ]
        assert seconds_until_closed(opened[2]) < 5
        assert [is_closed(connection) for connection in opened[:5]] == [True, True, True, False, False]
        assert not is_closed(opened[-1])


def test_limits_connections_of_several_addresses(receiver, deliver, monkeypatch):
    monkeypatch.setattr(connections, "_network", lambda host: str(time.monotonic_ns()))
    with ExitStack() as idle:
        opened = [
            idle.enter_context(closing(connect(receiver))) for _ in range(connections.MAX_CONNECTIONS + 5)
        ]
        assert deliver(PING).status_code == 200
        assert seconds_until_closed(opened[0]) < 5
        assert not is_closed(opened[-1])


@pytest.mark.parametrize("trickle", [b"", b"x"], ids=["silent", "a byte at a time"])
@pytest.mark.parametrize("beginning", [b"", HEAD + b"X-Long: "], ids=["nothing", "half a head"])
def test_closes_connection_without_head(receiver, monkeypatch, beginning, trickle):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with closing(connect(receiver, beginning)) as connection:
        started = time.monotonic()
        assert send_until_closed(connection, trickle, pause=0.05) == b""
        assert time.monotonic() - started > 0.3


def test_closes_connection_with_endless_body(receiver, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with closing(connect(receiver, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")) as connection:
        assert send_until_closed(connection, part).startswith(b"HTTP/1.1 413")


def test_answers_slow_body_with_408(receiver, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(endpoint, "READ_SECONDS", 1.0)
    with closing(connect(receiver, HEAD + b"Content-Length: 1000\r\n\r\n")) as connection:
        assert send_until_closed(connection, b"x", pause=0.05).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "head", [HEAD + b"X-Long: " + b"x" * 2**20, HEAD + b"X-Many: x\r\n" * 2**16], ids=["long", "many"]
)
def test_refuses_endless_head(receiver, head):
    with closing(connect(receiver)) as connection:
        try:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        except ConnectionError:
            pass  # refused and closed while it was still being sent
        assert seconds_until_closed(connection) < 2


def test_limits_buffered_bytes_of_all_connections(receiver, deliver, monkeypatch):
    monkeypatch.setattr(connections, "MAX_BUFFERED_BYTES", 2**20)
    with ExitStack() as open_:
        body = HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 200_000
        opened = [open_.enter_context(closing(connect(receiver, body))) for _ in range(10)]
        started = time.monotonic()
        assert deliver(PING).status_code == 200
        assert seconds_until_closed(opened[0]) < 5
        while sum(not is_closed(connection) for connection in opened) > 5:
            assert time.monotonic() - started < 10, "more is kept than that"
            time.sleep(0.05)


def test_keeps_connection_with_webhooks_open(receiver, sign):
    body = b'{"event": "ping", "webhook": {"id": 1}}'
    address = urlsplit(receiver.url)
    with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=10)) as cvat:
        for _ in range(3):
            cvat.request("POST", "/webhooks", body, {"X-Signature-256": sign(body)})
            answer = cvat.getresponse()
            assert (answer.status, answer.read()) == (200, b"ready")
            port = cvat.sock.getsockname()[1]
        assert cvat.sock.getsockname()[1] == port


def test_limits_connections_by_open_files(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert connections.Connections()._max == 32


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2:3:4:5", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_ipv6_network_counts_as_one_address(one, other, same):
    assert (connections._network(one) == connections._network(other)) is same
