"""Injected faults, as seen by a client."""

import socket
import time
import zipfile
from io import BytesIO

import pytest
import requests

from prefect_cvat.sandbox.faults.rules import Decider, FaultPlan, RequestFacts
from sandbox.faults.faulty_sandbox import VND, Peer, rule, writes
from sandbox.wire_recording import FOLDER, load


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
def test_status_fault_before_and_after_commit(peer: Peer, status: int, when: str, kept: int) -> None:
    peer.server.faults.set([writes("status", status=status, when=when)])
    answer = peer.create()
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert peer.kept() == kept
    (entry,) = peer.server.faults.log()
    assert (entry.method, entry.path, entry.query) == ("PATCH", peer.annotations, "action=create")
    assert (entry.fault, entry.when) == ("status", when)
    assert entry.application_status == (200 if kept else None)


@pytest.mark.parametrize("label", ["opa-down-500", "app-down-502"])
def test_error_pages_equal_recorded_ones(peer: Peer, label: str) -> None:
    recorded = next((one.response for one in load() if one.label == label), None)
    if recorded is None:
        pytest.skip(f"no recorded exchanges in {FOLDER}: set PREFECT_CVAT_WIRE")
    peer.server.faults.set([rule("status", status=recorded["status"])])
    answer = peer.about()
    assert answer.text == recorded["body"]["text"]
    assert answer.headers["content-type"] == dict(recorded["headers"])["Content-Type"]


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
def test_reset_sends_no_response(peer: Peer, when: str, kept: int) -> None:
    peer.server.faults.set([writes("reset", when=when)])
    with pytest.raises(requests.ConnectionError):
        peer.create()
    assert peer.kept() == kept


def test_reset_is_a_tcp_reset(peer: Peer) -> None:
    peer.server.faults.set([rule("reset")])
    host, _, port = peer.server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(b"GET /api/server/about HTTP/1.1\r\nHost: sandbox\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            line.recv(1)


def test_throttled_chunk_has_empty_body_and_others_json(peer: Peer) -> None:
    peer.server.faults.set([rule("throttle", retry_after=7)])
    chunk, about = peer.chunk(), peer.about()
    assert (chunk.status_code, chunk.headers["retry-after"], chunk.content) == (429, "7", b"")
    assert "content-type" not in chunk.headers
    assert (about.status_code, about.headers["retry-after"]) == (429, "7")
    assert about.headers["content-type"] == VND
    assert about.json() == {"detail": "Request was throttled. Expected available in 7 seconds."}


def test_latency_before_delays_the_commit(peer: Peer) -> None:
    peer.server.faults.set([writes("latency", seconds=0.8)])
    with pytest.raises(requests.ReadTimeout):
        peer.create(timeout=0.1)
    assert peer.server.faults.pending == 1
    assert peer.kept() == 0
    peer.server.faults.wait()
    assert peer.kept() == 1


def test_latency_after_delays_the_response(peer: Peer) -> None:
    peer.server.faults.set([writes("latency", seconds=0.6, when="after")])
    with pytest.raises(requests.ReadTimeout):
        peer.create(timeout=0.3)
    peer.server.faults.wait()
    assert peer.server.faults.log()[0].application_status == 200
    assert peer.kept() == 1


def test_latency_and_jitter_add_up(peer: Peer) -> None:
    rules = [rule("latency", seconds=0.1, jitter=0.3)]
    peer.server.faults.set(rules, seed=3)
    waits = [peer.about().elapsed.total_seconds() for _ in range(3)]
    decider = Decider(FaultPlan.model_validate({"seed": 3, "rules": rules}))
    chances = [decider.decide(RequestFacts(method="GET", path="/api/"))[0].chance for _ in waits]
    assert max(chances) - min(chances) > 0.3
    for wait, chance in zip(waits, chances, strict=True):
        assert wait >= 0.1 + chance * 0.3


def test_bandwidth_limits_the_body(peer: Peer) -> None:
    whole = peer.chunk().content
    peer.server.faults.set([rule("bandwidth", bytes_per_second=len(whole) * 2)])
    start = time.monotonic()
    assert peer.chunk().content == whole
    assert time.monotonic() - start > 0.4


def test_truncated_body_ends_in_the_middle(peer: Peer) -> None:
    whole = peer.chunk().content
    peer.server.faults.set([rule("truncate")])
    with peer.chunk(stream=True) as answer:
        assert int(answer.headers["content-length"]) == len(whole)
        received = answer.raw.read(len(whole) // 2)
        with pytest.raises(Exception, match="IncompleteRead"):
            answer.raw.read()
    assert received == whole[: len(whole) // 2]


def test_corrupted_chunk_keeps_length_and_fails_checksum(peer: Peer) -> None:
    whole = peer.chunk().content
    peer.server.faults.set([rule("corrupt")])
    answer = peer.chunk()
    assert answer.status_code == 200
    differing = [i for i, (a, b) in enumerate(zip(answer.content, whole, strict=True)) if a != b]
    assert differing == list(range(differing[0], differing[0] + 16))
    assert abs(differing[0] + 8 - len(whole) / 2) <= 1
    assert zipfile.ZipFile(BytesIO(whole)).testzip() is None
    assert _is_broken(answer.content)


def _is_broken(content: bytes) -> bool:
    try:
        return zipfile.ZipFile(BytesIO(content)).testzip() is not None
    except zipfile.BadZipFile:
        return True


def test_late_commit_happens_after_504(peer: Peer) -> None:
    peer.server.faults.set([writes("late_commit", delay=0.8)])
    answer = peer.create()
    assert answer.status_code == 504
    assert "504 Gateway Time-out" in answer.text
    assert peer.kept() == 0
    (entry,) = peer.server.faults.log()
    assert (entry.when, entry.application_status) == ("late", None)
    assert requests.get(f"{peer.server.url}/sandbox/pending", timeout=10).json() == {"pending": 1}
    peer.server.faults.wait()
    assert peer.kept() == 1
    assert peer.server.faults.log()[0].application_status == 200
    assert requests.get(f"{peer.server.url}/sandbox/pending", timeout=10).json() == {"pending": 0}


def test_late_commit_happens_after_client_disconnects(peer: Peer) -> None:
    peer.server.faults.set([writes("late_commit", answer="reset", seconds=0.3, delay=0.5)])
    with pytest.raises(requests.ReadTimeout):
        peer.create(timeout=0.1)
    assert peer.kept() == 0
    peer.server.faults.wait()
    assert peer.kept() == 1


def test_late_commit_can_answer_with_reset(peer: Peer) -> None:
    peer.server.faults.set([writes("late_commit", answer="reset", seconds=0.2, delay=0)])
    start = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="reset"):
        peer.create()
    assert time.monotonic() - start > 0.2
    peer.server.faults.wait()
    assert peer.kept() == 1


def test_expired_token_fails_until_next_login(peer: Peer) -> None:
    peer.server.faults.set([rule("expire_token", after=1, times=1)])
    assert [peer.about().status_code, peer.create().status_code] == [200, 401]
    peer.server.faults.clear()
    assert peer.create().status_code == 401
    peer.log_in()
    assert peer.create().status_code == 200
    assert peer.kept() == 1


def test_session_and_access_token_expire(peer: Peer) -> None:
    created = peer.send("POST", "/api/auth/access_tokens", json={"name": "a", "read_only": False})
    bearer = {"Authorization": f"Bearer {created.json()['value']}"}
    session = requests.Session()
    session.post(
        f"{peer.server.url}/api/auth/login",
        json={"username": peer.server.user, "password": peer.server.password},
        timeout=10,
    )
    own = f"{peer.server.url}/api/users/self"
    peer.server.faults.set([rule("expire_token", path="self$")])
    assert requests.get(own, headers=bearer, timeout=10).status_code == 401
    assert peer.about().status_code == 200, "only the access token is dead"
    assert session.get(own, timeout=10).status_code == 401
    assert peer.about().status_code == 401, "with a session ends the user's token"
    basic = requests.get(own, auth=(peer.server.user, peer.server.password), timeout=10)
    assert basic.status_code == 200
    assert len(peer.server.faults.log()) == 2
    peer.server.faults.clear()
    assert requests.get(own, headers=bearer, timeout=10).status_code == 401
    assert session.get(own, timeout=10).status_code == 401
