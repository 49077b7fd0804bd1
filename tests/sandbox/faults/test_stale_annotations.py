"""Writes that are stored in part, and reads that are stale."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from cvat_sdk.core.proxies.tasks import Task

from prefect_cvat.sandbox import timestamps
from sandbox.faults.faulty_sandbox import KINDS, Peer, ids, rule, writes


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
    time.sleep(max(0, history[-1][0] + 0.6 - time.monotonic()))
    assert len(peer.read()["shapes"]) == count
    assert len({shown for _, _, shown in seen}) > 2, "it is not only the first and the last state"
    for before, after, shown in seen:
        # Reads show writes answered before that time, and not later ones.
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
