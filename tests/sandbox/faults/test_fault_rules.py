"""Which requests get faults."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from prefect_cvat.sandbox.faults.kinds import Status
from prefect_cvat.sandbox.faults.rules import Rule
from sandbox.faults.faulty_sandbox import Peer, rule, statuses, writes


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
