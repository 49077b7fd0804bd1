"""The sandbox takes as long as a real server. Times are compared with wide margins: machines are busy."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3

from prefect_cvat.sandbox import LIKE, Sandbox, Slowness
from sandbox.sandbox_http import Http


@pytest.fixture(autouse=True)
def _fast_again(server: Sandbox) -> Iterator[None]:
    server.slowness = Slowness()
    yield
    server.slowness = Slowness()
    server.faults.clear()


@pytest.fixture(scope="module")
def chunked_task(make_task: Callable[..., Any]) -> int:
    """A task of twelve frames, three in a chunk."""
    task_id: int = make_task(chunk_size=3).id
    return task_id


@pytest.fixture
def label_id(http: Http, chunked_task: int) -> int:
    number: int = http.json("GET", f"/api/labels?task_id={chunked_task}")["results"][0]["id"]
    return number


def seconds(work: Callable[[], Any]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def chunk(http: Http, task_id: int, number: int) -> urllib3.BaseHTTPResponse:
    return http.send("GET", f"/api/tasks/{task_id}/data?type=chunk&number={number}&quality=original")


def all_chunks_at_once(http: Http, task_id: int) -> float:
    with ThreadPoolExecutor(4) as pool:
        return seconds(
            lambda: [
                answer.status
                for answer in pool.map(lambda number: chunk(http, task_id, number), range(4))
                if answer.status != 200
            ]
        )


def rectangles(label_id: int, count: int) -> dict[str, Any]:
    shape = {"type": "rectangle", "frame": 0, "label_id": label_id, "points": [1, 2, 3, 4]}
    return {"shapes": [shape] * count}


def create(http: Http, task_id: int, body: dict[str, Any]) -> None:
    http.json("PATCH", f"/api/tasks/{task_id}/annotations?action=create", body)


def test_two_workers_make_four_chunks_in_half_the_time_of_one(server, http, chunked_task):
    server.forget_chunks()
    server.slowness = Slowness(chunk_seconds_per_frame=0.2, chunk_workers=1)
    with_one = all_chunks_at_once(http, chunked_task)
    server.forget_chunks()
    server.slowness = Slowness(chunk_seconds_per_frame=0.2, chunk_workers=2)
    with_two = all_chunks_at_once(http, chunked_task)
    assert with_one >= 4 * 0.6
    assert 2 * 0.6 <= with_two < 0.8 * with_one


def test_chunks_are_made_once_and_kept(server, http, chunked_task):
    server.forget_chunks()
    server.slowness = Slowness(chunk_seconds_per_frame=0.5)
    first = seconds(lambda: chunk(http, chunked_task, 0))
    again = seconds(lambda: chunk(http, chunked_task, 0))
    assert first >= 1.5
    assert again < 0.5 * first


def test_large_frames_take_longer(server, http, chunked_task):
    server.forget_chunks()
    # Frames of the first chunk have 100x80, 101x81 and 102x82 pixels.
    server.slowness = Slowness(chunk_seconds_per_megapixel=40)
    assert seconds(lambda: chunk(http, chunked_task, 0)) >= 40 * 3 * 0.008


def test_chunk_not_made_in_time_is_429_and_available_later(server, http, chunked_task):
    server.forget_chunks()
    server.slowness = Slowness(
        chunk_seconds_per_frame=0.6, chunk_timeout_seconds=0.3, chunk_retry_after_seconds=2
    )
    start = time.monotonic()
    early = chunk(http, chunked_task, 0)
    assert (early.status, early.data, early.headers["Retry-After"]) == (429, b"", "2")
    assert time.monotonic() - start >= 0.3
    while (answer := chunk(http, chunked_task, 0)).status == 429:
        pass
    assert answer.status == 200
    assert answer.data.startswith(b"PK")
    assert time.monotonic() - start >= 1.8


def test_chunk_is_made_even_if_no_client_waits(server, http, chunked_task):
    server.forget_chunks()
    server.slowness = Slowness(chunk_seconds_per_frame=0.3, chunk_timeout_seconds=0)
    assert chunk(http, chunked_task, 0).status == 429
    time.sleep(1)
    assert chunk(http, chunked_task, 0).status == 200


def test_requests_share_the_server_processes(server, http):
    def six_at_once() -> float:
        with ThreadPoolExecutor(6) as pool:
            return seconds(lambda: list(pool.map(lambda _: http.json("GET", "/api/jobs"), range(6))))

    server.slowness = Slowness(seconds_per_request=0.3, server_processes=1)
    in_one = six_at_once()
    server.slowness = Slowness(seconds_per_request=0.3, server_processes=3)
    in_three = six_at_once()
    assert in_one >= 6 * 0.3
    assert 2 * 0.3 <= in_three < 0.8 * in_one


def test_making_a_chunk_does_not_occupy_a_server_process(server, http, chunked_task):
    server.forget_chunks()
    server.slowness = Slowness(chunk_seconds_per_frame=1, seconds_per_request=0.01, server_processes=1)
    waiting = threading.Thread(target=chunk, args=(http, chunked_task, 0))
    waiting.start()
    time.sleep(0.2)
    assert seconds(lambda: http.json("GET", "/api/jobs")) < 2
    waiting.join()


def test_reading_and_writing_cost_time_per_shape(server, http, chunked_task, label_id):
    annotations = f"/api/tasks/{chunked_task}/annotations"
    http.send("DELETE", annotations)
    server.slowness = Slowness(seconds_per_written_shape=0.01, seconds_per_read_shape=0.005)
    few = seconds(lambda: create(http, chunked_task, rectangles(label_id, 10)))
    many = seconds(lambda: create(http, chunked_task, rectangles(label_id, 190)))
    read = seconds(lambda: http.json("GET", annotations))
    assert many >= 1.9
    assert few < 0.7 * many
    assert 1.0 <= read < 0.9 * many


def test_response_takes_a_round_trip(server, http):
    server.slowness = Slowness(round_trip_seconds=0.5)
    assert seconds(lambda: http.json("GET", "/api/jobs")) >= 0.5


@pytest.mark.parametrize("at_once", [1, 4])
def test_all_connections_share_the_bandwidth(server, http, chunked_task, at_once):
    size = len(chunk(http, chunked_task, 0).data)
    server.slowness = Slowness(bytes_per_second=max(1000, 2 * size))
    with ThreadPoolExecutor(at_once) as pool:
        took = seconds(lambda: list(pool.map(lambda _: chunk(http, chunked_task, 0), range(4))))
    assert took >= 0.9 * 4 * size / server.slowness.bytes_per_second


def test_abandoned_response_frees_the_link(server, http, chunked_task):
    size = len(chunk(http, chunked_task, 0).data)
    server.slowness = Slowness(bytes_per_second=max(1000, size / 20))
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request(
            "GET",
            f"{server.url}/api/tasks/{chunked_task}/data?type=chunk&number=0&quality=original",
            headers=urllib3.make_headers(basic_auth=f"{server.user}:{server.password}"),
            timeout=1,
            retries=False,
        )
    assert seconds(lambda: http.json("GET", "/api/server/about")) < 10


def test_request_bodies_take_time_on_the_link(server, http, chunked_task, label_id):
    body = rectangles(label_id, 200)
    server.slowness = Slowness(bytes_per_second=20_000, server_processes=1)
    size = 200 * 80
    assert seconds(lambda: create(http, chunked_task, body)) >= size / 20_000


def test_slow_server_injects_faults(server, http, chunked_task):
    server.slowness = Slowness(round_trip_seconds=0.3, bytes_per_second=1e6)
    server.faults.set(
        [
            {"path": "/data$", "times": 1, "fault": {"kind": "throttle", "retry_after": 1}},
            {"path": "/api/jobs$", "times": 1, "fault": {"kind": "reset"}},
        ]
    )
    start = time.monotonic()
    assert chunk(http, chunked_task, 0).status == 429
    assert time.monotonic() - start >= 0.3
    assert chunk(http, chunked_task, 0).status == 200
    with pytest.raises(urllib3.exceptions.ProtocolError):
        http.send("GET", "/api/jobs")
    assert http.send("GET", "/api/jobs").status == 200


def test_stop_does_not_wait_for_slow_responses(pictures):
    with Sandbox(slowness=Slowness(seconds_per_request=600)) as slow:

        def ask() -> None:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                Http(slow).send("GET", "/api/server/about")

        waiting = threading.Thread(target=ask)
        waiting.start()
        time.sleep(0.3)
        start = time.monotonic()
    assert time.monotonic() - start < 9
    waiting.join()


def test_slowness_is_set_and_requests_are_counted_over_http(server, http, chunked_task):
    figures = http.json("PUT", "/sandbox/slowness", {"round_trip_seconds": 0.01})
    assert figures == http.json("GET", "/sandbox/slowness") == server.slowness.model_dump()
    assert http.json("PUT", "/sandbox/slowness", {"speed": 1}, status=400) == {
        "speed": ["Extra inputs are not permitted"]
    }
    http.send("DELETE", "/sandbox/requests")
    chunk(http, chunked_task, 0)
    chunk(http, chunked_task, 1)
    http.send("GET", f"/api/tasks/{chunked_task}/annotations/")
    assert http.json("GET", "/sandbox/requests") == {
        "total": 3,
        "by_route": {"GET /api/tasks/ID/data?type=chunk": 2, "GET /api/tasks/ID/annotations": 1},
    }
    assert server.requests.total == 3
    assert http.send("DELETE", "/sandbox/chunks").status == 204


def test_copy_with_changed_slowness_is_slow():
    fast = Slowness()
    assert not fast.is_slow
    assert fast.model_copy(update={"round_trip_seconds": 1}).is_slow


def test_options_are_parsed_from_text():
    slowness = Slowness.parse("cvat-2.73", ["round_trip_seconds=0.1", "bytes_per_second=1e7"])
    assert slowness == LIKE["cvat-2.73"].model_copy(
        update={"round_trip_seconds": 0.1, "bytes_per_second": 1e7}
    )
    assert not Slowness.parse(None).is_slow


@pytest.mark.parametrize(
    ("like", "setting", "message"),
    [
        ("cvat-1", [], "like: expected cvat-2.73, got 'cvat-1'"),
        (None, ["speed=1"], "slow: expected NAME=VALUE with one of chunk_seconds_per_frame, .*got 'speed=1'"),
        (None, ["round_trip_seconds=-1"], "slow: round_trip_seconds=-1: .*greater than or equal to 0"),
    ],
)
def test_invalid_options_are_named(like, setting, message):
    with pytest.raises(ValueError, match=message):
        Slowness.parse(like, setting)


@pytest.mark.parametrize("command", [["prefect_cvat.sandbox"], ["prefect_cvat", "sandbox"]])
def test_both_commands_have_the_options(command):
    with subprocess.Popen(
        [sys.executable, "-m", *command, "--port", "0", "--like", "cvat-2.73"]
        + ["--slow", "round_trip_seconds=0.2", "--slow", "chunk_workers=3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            url = process.stdout.readline().split()[1]
            figures = urllib3.request("GET", f"{url}/sandbox/slowness").json()
        finally:
            process.terminate()
    assert (figures["round_trip_seconds"], figures["chunk_workers"]) == (0.2, 3)
    assert figures["seconds_per_request"] == LIKE["cvat-2.73"].seconds_per_request
