"""Injected faults, as seen by a client."""

import logging
import re
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from cvat_sdk.core.proxies.tasks import Task
from pydantic import ValidationError

from prefect_cvat.sandbox import Sandbox, timestamps
from prefect_cvat.sandbox.faults.kinds import Status
from prefect_cvat.sandbox.faults.rules import Decider, FaultPlan, RequestFacts, Rule
from sandbox.wire_recording import FOLDER, load

VND = "application/vnd.cvat+json"


class Peer:
    """A client of one task, logged in by token."""

    def __init__(self, server: Sandbox, task: Task) -> None:
        self.server = server
        self.annotations = f"/api/tasks/{task.id}/annotations"
        self.data = f"/api/tasks/{task.id}/data"
        self.job = f"/api/jobs/{task.get_jobs()[0].id}"
        self._label_id = task.get_labels()[0].id
        self._token = ""
        self.log_in()

    def log_in(self) -> None:
        answer = requests.post(
            f"{self.server.url}/api/auth/login",
            json={"username": self.server.user, "password": self.server.password},
            timeout=10,
        )
        self._token = answer.json()["key"]

    def send(self, method: str, path: str, timeout: float = 10, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Token {self._token}", "Accept-Encoding": "identity"}
        return requests.request(method, self.server.url + path, headers=headers, timeout=timeout, **options)

    def about(self) -> requests.Response:
        return self.send("GET", "/api/server/about")

    def create(self, timeout: float = 10) -> requests.Response:
        shape = {"type": "rectangle", "frame": 0, "label_id": self._label_id, "points": [1, 2, 3, 4]}
        return self.send("PATCH", f"{self.annotations}?action=create", timeout, json={"shapes": [shape]})

    def shapes(self, count: int, first: int = 0) -> list[dict[str, Any]]:
        """As many rectangles, each in a place of its own."""
        return [
            {"type": "rectangle", "frame": 0, "label_id": self._label_id, "points": [n, 0, n + 1, 1]}
            for n in range(first, first + count)
        ]

    def every_kind(self, count: int) -> dict[str, Any]:
        """As many tags, shapes and tracks."""
        tag = {"frame": 0, "label_id": self._label_id}
        keyframe = {"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}
        return {
            "tags": [tag] * count,
            "shapes": self.shapes(count),
            "tracks": [{**tag, "shapes": [keyframe]}] * count,
        }

    def read(self, path: str | None = None) -> Any:
        return self.send("GET", path or self.annotations).json()

    def chunk(self, number: int = 0, **options: Any) -> requests.Response:
        return self.send("GET", f"{self.data}?type=chunk&quality=original&number={number}", **options)

    def kept(self) -> int:
        """How many shapes the server holds, asked past all faults."""
        self.server.faults.clear()
        return len(self.send("GET", self.annotations).json()["shapes"])


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(chunk_size=4)


@pytest.fixture
def peer(server: Sandbox, task: Task) -> Iterator[Peer]:
    server.faults.set([])
    peer = Peer(server, task)
    peer.send("DELETE", peer.annotations)
    yield peer
    server.faults.clear()
    server.faults.wait()


def rule(kind: str, *, path: str = "", **fields: Any) -> dict[str, Any]:
    """A rule with a fault: what is no field of a rule is one of the fault."""
    own = {name: fields.pop(name) for name in Rule.model_fields if name in fields}
    return {"path": path, "fault": {"kind": kind, **fields}, **own}


def writes(kind: str, **fields: Any) -> dict[str, Any]:
    return rule(kind, methods=["PATCH"], path="/annotations$", **fields)


def statuses(peer: Peer, count: int) -> list[int]:
    return [peer.about().status_code for _ in range(count)]


# What each fault does


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


KINDS = ("tags", "shapes", "tracks")


def ids(document: dict[str, Any]) -> set[tuple[str, int]]:
    return {(kind, item["id"]) for kind in KINDS for item in document[kind]}


@pytest.mark.parametrize("route", ["task", "job"])
@pytest.mark.parametrize("request_line", ["PATCH ?action=create", "PUT "])
def test_stores_part_and_answers_with_all(peer: Peer, route: str, request_line: str) -> None:
    method, query = request_line.split(" ")
    path = peer.annotations if route == "task" else f"{peer.job}/annotations"
    peer.server.faults.set([rule("store_part", share=0.5)], seed=3)
    answer = peer.send(method, path + query, json=peer.every_kind(10))
    assert answer.status_code == 200
    answered = ids(answer.json())
    assert len(answered) == 30
    kept = ids(peer.read())
    assert len(kept) == 15
    assert kept < answered
    assert {kind for kind, _ in answered - kept} == set(KINDS)
    (entry,) = peer.server.faults.log()
    assert (entry.fault, entry.when, entry.application_status) == ("store_part", "after", 200)


def test_stored_part_depends_on_seed(peer: Peer) -> None:
    def kept(seed: int) -> list[float]:
        peer.server.faults.set([rule("store_part", share=0.5)], seed=seed)
        peer.send("PUT", peer.annotations, json={"shapes": peer.shapes(20)})
        return [shape["points"][0] for shape in peer.read()["shapes"]]

    first = kept(1)
    assert kept(1) == first
    assert kept(2) != first


@pytest.mark.parametrize(("share", "count", "kept"), [(0, 4, 0), (0.99, 4, 3), (0.5, 1, 0), (0.5, 0, 0)])
def test_store_part_drops_at_least_one(peer: Peer, share: float, count: int, kept: int) -> None:
    peer.server.faults.set([writes("store_part", share=share)])
    answer = peer.send("PATCH", f"{peer.annotations}?action=create", json={"shapes": peer.shapes(count)})
    assert len(answer.json()["shapes"]) == count
    assert peer.kept() == kept


def test_store_part_matches_only_writes_that_add(peer: Peer) -> None:
    written = peer.send("PUT", peer.annotations, json={"shapes": peer.shapes(4)}).json()
    peer.server.faults.set([rule("store_part")])
    assert peer.about().status_code == 200
    assert peer.send("PATCH", f"{peer.annotations}?action=update", json=written).status_code == 200
    assert len(peer.read()["shapes"]) == 4
    gone = {"shapes": written["shapes"][:1]}
    assert peer.send("PATCH", f"{peer.annotations}?action=delete", json=gone).status_code == 200
    assert ids(peer.read()) == ids(written) - ids(gone | {"tags": [], "tracks": []})
    assert peer.server.faults.log() == (), "they do not even match"


def test_stale_read_returns_old_state(peer: Peer) -> None:
    peer.send("PUT", peer.annotations, json={"shapes": peer.shapes(1)})
    job = peer.read(peer.job)
    reads = rule("stale_read", seconds=0.6, methods=["GET"])
    peer.server.faults.set([reads])
    peer.send("PATCH", f"{peer.annotations}?action=create", json={"shapes": peer.shapes(2, first=1)})
    assert [len(peer.read(path)["shapes"]) for path in (peer.annotations, f"{peer.job}/annotations")] == [
        1,
        1,
    ]
    assert peer.read(peer.job)["updated_date"] == job["updated_date"]
    time.sleep(0.65)
    assert [len(peer.read(path)["shapes"]) for path in (peer.annotations, f"{peer.job}/annotations")] == [
        3,
        3,
    ]
    assert peer.read(peer.job)["updated_date"] > job["updated_date"]


def test_stale_read_lags_behind_several_writes(peer: Peer) -> None:
    peer.server.faults.set([rule("stale_read", seconds=0.5)])
    history: list[tuple[float, int]] = [(0, 0)]
    seen: list[tuple[float, float, int]] = []
    start = time.monotonic()
    count = 0
    while (now := time.monotonic()) < start + 2:
        if now < start + 1:
            count += 1
            peer.send("PATCH", f"{peer.annotations}?action=create", json={"shapes": peer.shapes(1, count)})
            history.append((time.monotonic(), count))
        before = time.monotonic()
        shown = len(peer.read()["shapes"])
        seen.append((before, time.monotonic(), shown))
    assert count > 2
    assert seen[-1][2] == count
    assert len({shown for _, _, shown in seen}) > 2, "it is not only the first and the last state"
    for before, after, shown in seen:
        # Writes that were answered so long before are seen; those that came later than that are not.
        least = max(number for moment, number in history if moment <= max(0, before - 0.5))
        most = 1 + max(number for moment, number in history if moment <= max(0, after - 0.49))
        assert least <= shown <= most, (before - start, shown)


def test_stale_read_returns_deleted_and_updated_shapes(peer: Peer) -> None:
    written = peer.send("PUT", peer.annotations, json={"shapes": peer.shapes(2)}).json()
    first, second = written["shapes"]
    peer.server.faults.set([rule("stale_read", seconds=20)])
    peer.send("PATCH", f"{peer.annotations}?action=delete", json={"shapes": [first]})
    peer.send(
        "PATCH", f"{peer.annotations}?action=update", json={"shapes": [{**second, "points": [7, 7, 9, 9]}]}
    )
    assert [shape["points"][0] for shape in peer.read()["shapes"]] == [0, 1]
    peer.server.faults.clear()
    assert [shape["points"][0] for shape in peer.read()["shapes"]] == [7]


def test_other_reads_are_not_stale(peer: Peer, task: Task) -> None:
    peer.server.faults.set([rule("stale_read", seconds=20)])
    peer.create()
    assert peer.read(f"/api/tasks/{task.id}")["updated_date"] > peer.read(peer.job)["updated_date"]
    assert [entry.path for entry in peer.server.faults.log()] == [peer.job]


def test_many_writes_with_stale_read_keep_few_files_open(peer: Peer) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    peer.server.faults.set([rule("stale_read", seconds=20)])
    for number in range(150):
        peer.send("PATCH", f"{peer.annotations}?action=create", json={"shapes": peer.shapes(1, number)})
    assert len(list(Path("/proc/self/fd").iterdir())) < open_before + 200
    assert peer.kept() == 150
    peer.about()
    assert peer.kept() == 150


# Dates that tell of writes


def test_each_annotation_write_advances_updated_date(peer: Peer) -> None:
    path = f"{peer.job}/annotations"
    dates = [peer.read(peer.job)["updated_date"]]

    def write(method: str, query: str, body: dict[str, Any] | None = None, **options: Any) -> Any:
        answer = peer.send(method, options.get("path", path) + query, json=body)
        assert answer.ok
        dates.append(peer.read(peer.job)["updated_date"])
        return answer.json() if answer.content else None

    for own in (path, peer.annotations):
        written = write("PATCH", "?action=create", {"shapes": peer.shapes(2)}, path=own)
        write("PATCH", "?action=update", {"shapes": written["shapes"]}, path=own)
        write("PATCH", "?action=delete", {"shapes": written["shapes"][:1]}, path=own)
        write("PUT", "", {"shapes": peer.shapes(2)}, path=own)
        write("DELETE", "", path=own)
    assert len(dates) == 11
    assert dates == sorted(set(dates)), "each is later than the one before"
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{6}Z", date) for date in dates)


def test_updated_date_advances_when_clock_is_set_back(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.create()
    before = peer.read(peer.job)["updated_date"]
    monkeypatch.setattr(timestamps, "now", lambda: "2020-01-01T00:00:00.000000Z")
    peer.create()
    assert peer.read(peer.job)["updated_date"] > before


# Which requests meet one


def test_faults_depend_only_on_seed(peer: Peer) -> None:
    rules = [rule("status", status=503, probability=0.5)]

    def run(seed: int) -> list[int]:
        peer.server.faults.set(rules, seed=seed)
        return statuses(peer, 24)

    first = run(7)
    assert run(7) == first
    assert run(8) != first
    assert 4 < first.count(503) < 20


def test_requests_that_do_not_match_do_not_count(peer: Peer) -> None:
    peer.server.faults.set([rule("status", status=503, path="about$", probability=0.5)], seed=7)
    alone = statuses(peer, 12)
    peer.server.faults.set([rule("status", status=503, path="about$", probability=0.5)], seed=7)
    among_others = []
    for _ in range(12):
        assert peer.send("GET", "/api/users/self").status_code == 200
        among_others.append(peer.about().status_code)
    assert among_others == alone
    assert len(set(alone)) == 2


def test_per_path_decisions_do_not_depend_on_order_of_paths(peer: Peer) -> None:
    def run(numbers: list[int]) -> dict[int, int]:
        peer.server.faults.set([rule("throttle", path="/data", probability=0.5, per_path=True)], seed=9)
        return {number: peer.chunk(number).status_code for number in numbers}

    met = run([0, 1, 2])
    assert run([2, 0, 1]) == met
    assert set(met.values()) == {200, 429}


def test_parallel_requests_get_as_many_faults_as_sequential_ones(peer: Peer) -> None:
    rules = [rule("status", status=502, probability=0.5), rule("latency", seconds=0, jitter=0.02)]
    peer.server.faults.set(rules, seed=4)
    one_by_one = statuses(peer, 20)
    peer.server.faults.set(rules, seed=4)
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda _: peer.about().status_code, range(20)))
    assert sorted(at_once) == sorted(one_by_one)
    assert len(set(at_once)) == 2


def test_after_skips_and_times_limits(peer: Peer) -> None:
    peer.server.faults.set([rule("status", status=502, after=1, times=2)])
    assert statuses(peer, 5) == [200, 502, 502, 200, 200]


def test_per_path_throttles_each_chunk(peer: Peer) -> None:
    peer.server.faults.set(
        [rule("throttle", path="/data$", query="type=chunk", retry_after=0, times=2, per_path=True)]
    )
    seen = [(n, peer.chunk(n).status_code) for n in (0, 1, 0, 1, 1, 0)]
    assert seen == [(0, 429), (1, 429), (0, 429), (1, 429), (1, 200), (0, 200)]


def test_rules_match_methods_actions_and_query(peer: Peer) -> None:
    peer.server.faults.set(
        [
            rule("status", status=502, actions=["delete"]),
            rule("status", status=503, methods=["PUT"]),
            rule("status", status=504, query="number=1"),
        ]
    )
    assert peer.create().status_code == 200
    assert peer.send("PATCH", f"{peer.annotations}?action=delete", json={}).status_code == 502
    assert peer.send("PUT", peer.annotations, json={}).status_code == 503
    assert [peer.chunk(n).status_code for n in (0, 1)] == [200, 504]


def test_first_of_two_exclusive_faults_wins(peer: Peer) -> None:
    peer.server.faults.set(
        [
            rule("latency", seconds=0.1, times=1),
            rule("status", status=502, times=1),
            rule("status", status=503, times=1),
        ]
    )
    assert statuses(peer, 3) == [502, 503, 200]
    assert [(entry.number, entry.rule, entry.fault) for entry in peer.server.faults.log()] == [
        (0, 0, "latency"),
        (1, 1, "status"),
        (2, 2, "status"),
    ]


def test_html_pages_get_no_faults(peer: Peer) -> None:
    peer.server.faults.set([rule("status", status=502)])
    assert requests.get(f"{peer.server.url}/", timeout=10).status_code == 200
    assert peer.about().status_code == 502


# Setting them


def test_sets_reads_and_clears_faults_over_http(peer: Peer) -> None:
    address = f"{peer.server.url}/sandbox/faults"
    plan = {"seed": 5, "rules": [writes("status", status=504, when="after", times=1)]}
    put = requests.put(address, json=plan, timeout=10)
    assert (put.status_code, put.json()["seed"], put.json()["log"]) == (200, 5, [])
    assert [peer.create().status_code, peer.create().status_code] == [504, 200]
    read = requests.get(address, timeout=10).json()
    assert read["rules"][0]["fault"] == {"kind": "status", "status": 504, "when": "after"}
    assert [(e["method"], e["fault"], e["when"], e["application_status"]) for e in read["log"]] == [
        ("PATCH", "status", "after", 200)
    ]
    again = {name: read[name] for name in ("seed", "rules")}
    assert requests.put(address, json=again, timeout=10).json()["rules"] == read["rules"]
    assert requests.delete(address, timeout=10).status_code == 204
    assert peer.create().status_code == 200
    assert requests.get(address, timeout=10).json()["rules"] == []


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"rules": [rule("reset", probability=1.5)]}, "rules.0.probability"),
        ({"rules": [rule("reset"), rule("reset", path="(")]}, "rules.1.path"),
        ({"rules": [rule("status", status=404)]}, "rules.0.fault.status"),
        ({"rules": [rule("latency")]}, "rules.0.fault.seconds"),
        ({"rules": [rule("latency", seconds=-1)]}, "rules.0.fault.seconds"),
        ({"rules": [rule("store_part", share=1)]}, "rules.0.fault.share"),
        ({"rules": [rule("stale_read")]}, "rules.0.fault.seconds"),
        ({"rules": [rule("stale_read", seconds=0)]}, "rules.0.fault.seconds"),
        ({"rules": [rule("earthquake")]}, "rules.0.fault"),
        ({"rules": [rule("reset") | {"metods": ["GET"]}]}, "rules.0.metods"),
        ({"rules": [rule("reset", methods=["FETCH"])]}, "rules.0.methods.0"),
        ({"rules": [{}]}, "rules.0.fault"),
        ({"seed": "x"}, "seed"),
        ([], "body"),
    ],
)
def test_refuses_invalid_rule_and_names_the_field(peer: Peer, plan: Any, field: str) -> None:
    peer.server.faults.set([rule("status", status=503)])
    answer = requests.put(f"{peer.server.url}/sandbox/faults", json=plan, timeout=10)
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert peer.about().status_code == 503


def test_accepts_rule_objects_in_python(peer: Peer) -> None:
    peer.server.faults.set([Rule(fault=Status(status=503), times=1)])
    assert statuses(peer, 2) == [503, 200]
    with pytest.raises(ValidationError, match="probability"):
        peer.server.faults.set([rule("reset", probability=2)])


def test_set_resets_the_log_and_clear_keeps_it(peer: Peer) -> None:
    peer.server.faults.set([rule("status", status=503)])
    peer.about()
    peer.server.faults.clear()
    assert len(peer.server.faults.log()) == 1
    peer.server.faults.set([rule("status", status=503)])
    assert peer.server.faults.log() == ()


# The server's own life


def test_stop_runs_late_commits_at_once(tmp_path: Path) -> None:
    labels = [{"name": f"label {number}"} for number in range(4000)]  # takes a while to carry out
    with Sandbox(tmp_path) as server:
        basic = (server.user, server.password)
        server.faults.set([rule("late_commit", methods=["POST"], delay=300)])
        answer = requests.post(
            f"{server.url}/api/tasks", json={"name": "late", "labels": labels}, auth=basic, timeout=10
        )
        assert answer.status_code == 504
        assert server.faults.pending == 1
        start = time.monotonic()
    assert time.monotonic() - start < 8
    assert server.faults.pending == 0
    assert server.faults.log()[0].application_status == 201
    with Sandbox(tmp_path) as server:
        tasks = requests.get(f"{server.url}/api/tasks", auth=basic, timeout=10).json()["results"]
        kept = requests.get(f"{server.url}/api/labels?task_id={tasks[0]['id']}", auth=basic, timeout=10)
    assert [task["name"] for task in tasks] == ["late"]
    assert kept.json()["count"] == len(labels)


def test_stop_does_not_wait_for_injected_latency() -> None:
    with ThreadPoolExecutor(1) as pool:
        with Sandbox() as server:
            server.faults.set([rule("latency", seconds=300)])
            answer = pool.submit(requests.get, f"{server.url}/api/server/about", timeout=20)
            while not server.faults.log():
                time.sleep(0.01)
            start = time.monotonic()
        assert time.monotonic() - start < 5
        assert answer.result().status_code == 200


def test_broken_connections_log_no_errors() -> None:
    with recorded_complaints() as complaints, Sandbox() as server:
        logging.getLogger("uvicorn.error").addHandler(complaints)
        about = f"{server.url}/api/server/about"
        server.faults.set([rule("reset", times=1), rule("truncate", times=1)])
        for _ in range(2):
            with pytest.raises(requests.RequestException):
                requests.get(about, timeout=10)
        server.faults.set([rule("bandwidth", bytes_per_second=20)])
        with requests.get(about, timeout=10, stream=True) as answer:
            answer.raw.read(1)
        time.sleep(0.3)  # for some more pieces, which meet a closed connection
    assert [record.getMessage() for record in complaints.records] == []


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def recorded_complaints() -> Iterator[Complaints]:
    """Takes what goes to uvicorn's log once it is added there: uvicorn sets its handlers when it starts."""
    complaints = Complaints()
    try:
        yield complaints
    finally:
        logging.getLogger("uvicorn.error").removeHandler(complaints)
