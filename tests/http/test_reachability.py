"""First contact with a server: a wrong address fails within ten seconds, an unavailable server is retried."""

import logging
import pickle
import re
import socket
import struct
import threading
import time
import uuid
from contextlib import contextmanager

import pytest

from ports import free_port
from prefect_cvat import Client
from prefect_cvat.exceptions import RequestTimeoutError, TransportError, UnreachableError
from prefect_cvat.http import reachability
from prefect_cvat.http.reachability import REACHABILITY_TIMEOUT
from prefect_cvat.http.retry_policy import RetryPolicy
from scripted_server import Answer, scripted_server

# a process remembers addresses that have answered, so each test has its own


def fresh(host):
    return f"http://{host}/{uuid.uuid4().hex}"


@contextmanager
def listener(serve):
    """A port that accepts connections, and handles each with a function."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        ended = threading.Event()
        taken = []

        def accept():
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                connection.settimeout(None)
                taken.append(connection)
                threading.Thread(target=serve, args=(connection, ended), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
            for connection in taken:
                connection.close()


def silent(_connection, _ended):
    pass


def dribbling(connection, ended):
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not ended.wait(0.2):
            connection.sendall(b"a")
    except OSError:
        pass


def babbling(connection, _ended):
    connection.recv(10_000)
    connection.sendall(b"SSH-2.0-\x1b[31m" + b"x" * 60_000 + b"\r\n")


def closing(connection, _ended):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def time_of_failure(url, **options):
    """The error of a client with the usual patience, and how long it took."""
    started = time.monotonic()
    with Client(url, access_token="x", **options) as client, pytest.raises(UnreachableError) as error:
        client.task(1)
    assert url in str(error.value)
    assert not error.value.was_sent
    assert isinstance(error.value, TransportError)
    return str(error.value), time.monotonic() - started


def test_reports_a_closed_port_within_ten_seconds(caplog):
    message, seconds = time_of_failure(fresh(f"127.0.0.1:{free_port()}"))
    assert "Connection refused: nothing listens on this port" in message
    assert "--server-port" in message
    assert 2 < seconds < REACHABILITY_TIMEOUT + 2
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [f"attempt {2 + i} follows" in record.getMessage() for i, record in enumerate(told)] == [True] * 4
    assert f"({len(told) + 1} attempts in" in message


def test_reports_an_unknown_host_within_ten_seconds():
    message, seconds = time_of_failure(fresh("no-such-host.invalid"))
    assert "its name cannot be looked up in DNS" in message
    assert seconds < REACHABILITY_TIMEOUT + 2


def test_reports_a_silent_dns_server_within_ten_seconds(monkeypatch):
    looked_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: looked_up.wait(40) and [])
    message, seconds = time_of_failure(fresh("cvat.example.com"))
    looked_up.set()
    assert "timed out: no answer in 10 s" in message
    assert seconds < REACHABILITY_TIMEOUT + 2


def test_reports_an_unreachable_network(monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    message, _ = time_of_failure(fresh("127.0.0.1:1"), retry=RetryPolicy(give_up_after=0))
    assert "it cannot be reached from this network (No route to host)" in message


def test_reports_a_host_that_accepts_no_connection_within_ten_seconds():
    # a full backlog accepts no connections, like a firewall that drops packets
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        held = []
        for _ in range(8):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(address)
            held.append(waiting)
        message, seconds = time_of_failure(fresh(f"127.0.0.1:{address[1]}"))
        for waiting in held:
            waiting.close()
    # on a busy machine the bound on the whole may be reached before that on the connection
    assert re.search("timed out: (it does not take a connection|no answer in 10 s)", message)
    assert 5 < seconds < REACHABILITY_TIMEOUT + 2


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (silent, "timed out: it takes connections, and does not answer"),
        (dribbling, "timed out: no answer in"),
        (closing, "reset"),
        (babbling, "it does not speak HTTP, but answers SSH-2.0-\\x1b[31mxxx"),
    ],
    ids=["silent", "byte by byte", "closing", "another protocol"],
)
def test_reports_a_server_without_http_within_ten_seconds(serve, reason):
    with listener(serve) as host:
        message, seconds = time_of_failure(fresh(host))
    assert reason in message
    assert message.isprintable()
    assert len(message) < 1000
    assert seconds < REACHABILITY_TIMEOUT + 2


def test_sends_no_password_to_a_server_that_does_not_respond():
    seen = []

    def read(connection, _ended):
        seen.append(connection.recv(10_000))
        closing(connection, _ended)

    with listener(read) as host:
        client = Client(fresh(host), organization="lab", retry=RetryPolicy(give_up_after=0))
        with pytest.raises(UnreachableError):
            client.login(("alice", "hunter2"))
    [request] = seen
    assert b"/api/server/about" in request
    for secret in (b"alice", b"hunter2", b"lab", b"Authorization"):
        assert secret not in request


def test_retries_for_as_long_as_the_policy_says_after_any_response(monkeypatch):
    """A server that has answered may be away for longer than a first contact: as long as the policy says."""
    monkeypatch.setattr(reachability, "REACHABILITY_TIMEOUT", 1.0)
    patience = RetryPolicy(give_up_after=300.0, first_delay=0.01, longest_delay=0.05)
    starting = Answer(503, b"<title>starting</title>", {"Content-Type": "text/html"})
    resets = [Answer(reset=True)] * 40
    with scripted_server(*resets, Answer(body=b'{"version": "2"}'), contact=starting) as server:
        started = time.monotonic()
        assert Client(server.url, access_token="x", retry=patience).server_version() == "2"
        assert time.monotonic() - started > reachability.REACHABILITY_TIMEOUT
        assert len(server.requests) == 41


def test_checks_a_server_once_per_process():
    short = RetryPolicy(give_up_after=0.3, first_delay=0.1)
    with scripted_server(Answer(body=b'{"version": "2"}')) as server:
        Client(server.url, access_token="x").server_version()
    with Client(server.url, access_token="x", retry=short) as known, pytest.raises(TransportError) as error:
        known.task(1)
    assert not isinstance(error.value, UnreachableError)
    url = fresh(f"127.0.0.1:{free_port()}")
    with Client(url, retry=short, assume_reachable=True) as told, pytest.raises(TransportError) as error:
        told.server_version()
    assert not isinstance(error.value, UnreachableError)


def test_reports_a_timeout_of_a_reachable_server():
    with listener(silent) as host:
        client = Client(
            fresh(host), timeout=(0.2, 0.2), retry=RetryPolicy(give_up_after=0), assume_reachable=True
        )
        with pytest.raises(RequestTimeoutError, match="no answer in time"):
            client.task(1)


def test_unreachable_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnreachableError("no server answers")))
    assert (str(error), error.was_sent) == ("no server answers", False)


def test_calls_on_retry_instead_of_logging(caplog):
    told = []
    faults = [Answer(502, b"", {"Content-Type": "text/html"}), Answer(429, b"", {})]
    quick = RetryPolicy(first_delay=0.01)
    with scripted_server(*faults, Answer(body=b'{"version": "2"}')) as server:
        Client(server.url, access_token="x", retry=quick, on_retry=told.append).server_version()
    assert len(told) == 2
    assert "502" in told[0]
    assert "attempt 2 follows in 0.0 s" in told[0]
    assert "429" in told[1]
    assert "attempt 3 follows in 0.0 s" in told[1]
    assert caplog.records == []
