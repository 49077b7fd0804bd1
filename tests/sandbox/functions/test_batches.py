"""Functions on whole tasks: what is written, when, and what is lost."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pictures import picture
from polling import until
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.sandbox import Sandbox
from sandbox.functions.stand_in_gateway import Answer, Asked, StandInGateway, record, stand_in_gateway
from sandbox.sandbox_http import Http

CAR = {"label": "car", "type": "rectangle", "points": [1, 2, 10, 12]}
BAD = {"label": "car", "type": "rectangle", "points": [1, 2, 3]}


@pytest.fixture(autouse=True)
def functions(gateway: StandInGateway) -> None:
    gateway.clear()
    gateway.records = {"det": record("det", labels=[{"name": "car", "type": "any"}])}
    gateway.invoke = lambda number, asked: Answer([CAR])


@pytest.fixture
def new_task(admin: Client) -> Callable[..., int]:
    def new_task(count: int = 12, **fields: Any) -> int:
        task = admin.create_task("a task", [label_spec("car", None)], **fields)
        admin.upload_images(task.id, {f"{i:04}.png": picture(32, 24, seed=i) for i in range(count)})
        return task.id

    return new_task


@pytest.fixture
def start(http: Http) -> Callable[..., dict[str, Any]]:
    def start(task: int, *, function: str = "det", status: int = 200, **fields: Any) -> dict[str, Any]:
        body = {"function": function, "task": task, **fields}
        found: dict[str, Any] = http.json("POST", "/api/lambda/requests", body, status=status)
        return found

    return start


def human_shape(admin: Client, task: int, frame: int = 0) -> None:
    [label] = admin.labels(task)
    box = {"type": "rectangle", "points": [1, 1, 5, 5], "frame": frame, "label_id": label.id}
    admin.json("PATCH", f"/api/tasks/{task}/annotations?action=create", body={"shapes": [box]})


def frames(admin: Client, task: int, source: str = "auto") -> list[int]:
    return [shape["frame"] for shape in admin.task_annotations(task).shapes if shape["source"] == source]


@pytest.mark.parametrize(
    "fault", [Answer("boom", 500), Answer([BAD]), Answer(None, None)], ids=["500", "bad", "closed"]
)
@pytest.mark.parametrize("cleanup", [False, True])
def test_error_at_the_sixth_frame_loses_the_others_too(
    admin, gateway, new_task, start, ended, fault, cleanup
):
    """Recorded calls 058, 059 and 061: with `cleanup`, the work of humans is gone as well."""
    task = new_task()
    human_shape(admin, task)
    gateway.invoke = lambda number, asked: fault if number == 5 else Answer([CAR])
    batch = ended(start(task, cleanup=cleanup))
    assert (batch["status"], batch["progress"]) == ("failed", 41)
    assert batch["exc_info"].startswith("Traceback")
    assert frames(admin, task) == []
    assert frames(admin, task, "manual") == ([] if cleanup else [0])
    assert len(gateway.calls) == 6


def test_hundred_frames_are_written_together_and_an_error_loses_the_rest(
    admin, gateway, new_task, start, ended
):
    """Recorded calls 073 and 074."""
    task = new_task(130)
    gateway.invoke = lambda number, asked: Answer("boom", 500) if number == 120 else Answer([CAR])
    batch = ended(start(task))
    assert (batch["status"], batch["progress"]) == ("failed", 92)
    assert (
        batch["exc_info"]
        .rstrip()
        .endswith(f"500 Server Error: Internal Server Error for url: {gateway.url}/api/function_invocations")
    )
    assert frames(admin, task) == list(range(101))
    gateway.clear()
    gateway.invoke = lambda number, asked: Answer([CAR])
    repeated = start(task, cleanup=True)
    assert repeated["exc_info"] == batch["exc_info"]  # until it has ended
    assert ended(repeated)["exc_info"] is None
    assert frames(admin, task) == list(range(130))
    assert len(gateway.asked) == 131  # one for the record, then one for each frame


def test_cancelled_batch_keeps_what_was_done_before_the_current_frame(admin, gateway, new_task, start, http):
    """Recorded calls 075."""
    task = new_task()
    at_frame_4, cancelled = threading.Event(), threading.Event()

    def invoke(number: int, asked: Asked) -> Answer:
        if number == 4:
            at_frame_4.set()
            assert cancelled.wait(10)
        return Answer([CAR])

    gateway.invoke = invoke
    batch = start(task)
    assert at_frame_4.wait(10)
    path = "/api/lambda/requests/" + batch["id"].replace("=", "%3D").replace("&", "%26")
    assert http.json("GET", path)["progress"] == 33
    assert http.json("GET", "/api/lambda/requests")[0]["id"] == batch["id"]
    assert http.send("DELETE", path).status == 204
    assert http.json("GET", path, status=404) == f"{batch['id']} lambda job is not found"
    cancelled.set()
    until(lambda: len(frames(admin, task)) >= 4, every=0.05)
    assert frames(admin, task) == [0, 1, 2, 3]
    assert len(gateway.calls) == 5


def test_one_batch_for_each_task_and_one_at_a_time(admin, gateway, new_task, start, ended):
    """Recorded calls 056, 075 and 076."""
    first, second = new_task(3, segment_size=1), new_task(3)
    jobs = [job.id for job in admin.jobs(first)]
    going, may_go_on = threading.Event(), threading.Event()

    def invoke(number: int, asked: Asked) -> Answer:
        going.set()
        assert may_go_on.wait(10)
        return Answer([CAR])

    gateway.invoke = invoke
    started = start(first, job=jobs[0])
    assert going.wait(10)
    text = start(first, job=jobs[1], status=409)
    assert text == f"Only one running request is allowed for the same task #{first}"
    waiting = start(second)
    time.sleep(0.2)
    assert len(gateway.calls) == 1
    may_go_on.set()
    assert ended(started)["progress"] == 33
    assert ended(waiting)["progress"] == 100
    assert (frames(admin, first), frames(admin, second)) == ([0], [0, 1, 2])


def test_function_that_is_removed_meanwhile_is_still_called(admin, gateway, new_task, start, ended):
    """Recorded calls 077."""
    task = new_task(3)

    def invoke(number: int, asked: Asked) -> Answer:
        gateway.records = {}
        return Answer([CAR])

    gateway.invoke = invoke
    assert ended(start(task))["status"] == "finished"
    assert frames(admin, task) == [0, 1, 2]


def test_frames_of_a_video_are_sent_once_as_png(admin, gateway, start, ended):
    """Recorded calls 072."""
    pytest.importorskip("av")
    from clips import clip

    task = admin.create_task("a video", [label_spec("car", None)], segment_size=5, overlap=2).id
    admin.upload_images(task, {"clip.mp4": clip(range(8))})
    assert ended(start(task))["status"] == "finished"
    assert sorted(set(frames(admin, task))) == list(range(8))
    assert len(gateway.calls) == 8
    assert {call.body["image"][:11] for call in gateway.calls} == {"iVBORw0KGgo"}


def test_reidentification_makes_tracks_of_rectangles(admin, gateway, new_task, start, ended):
    """Recorded calls 078: A moves, B is there on some frames, a point stays a shape."""
    task = new_task(8, segment_size=4)
    [label] = admin.labels(task)
    common = {"label_id": label.id, "type": "rectangle"}
    shapes = [{**common, "frame": i, "points": [1 + i, 1, 6 + i, 6]} for i in range(8)]
    shapes += [{**common, "frame": i, "points": [20, 12, 28, 20]} for i in (0, 1, 2, 7)]
    shapes.append({**common, "type": "points", "frame": 3, "points": [4, 4]})
    admin.json("PATCH", f"/api/tasks/{task}/annotations?action=create", body={"shapes": shapes})

    def invoke(number: int, asked: Asked) -> Answer:
        tops = [box["points"][1] for box in asked.body["boxes1"]]
        return Answer(
            [tops.index(box["points"][1]) if box["points"][1] in tops else -1 for box in asked.body["boxes0"]]
        )

    gateway.records = {"reid": record("reid", "reid")}
    gateway.invoke = invoke
    batch = ended(start(task, function="reid", threshold=0.5, max_distance=50))
    assert (batch["status"], batch["progress"]) == ("finished", 87)
    assert (gateway.calls[0].body["threshold"], gateway.calls[0].body["max_distance"]) == (0.5, 50)
    found = admin.task_annotations(task)
    assert [shape["type"] for shape in found.shapes] == ["points"]
    tracks = sorted(
        [(shape["frame"], shape["outside"]) for shape in track["shapes"]] for track in found.tracks
    )
    assert [(0, False), (1, False), (2, False), (3, True)] in tracks
    assert [(7, False)] in tracks
    assert {track["source"] for track in found.tracks} == {"auto"}


def test_bad_answer_of_reidentification_changes_nothing(admin, gateway, new_task, start, ended):
    """Recorded calls 079."""
    task = new_task(3)
    for frame in range(3):
        human_shape(admin, task, frame)
    gateway.records = {"reid": record("reid", "reid")}
    gateway.invoke = lambda number, asked: Answer([99])
    assert ended(start(task, function="reid"))["status"] == "failed"
    assert frames(admin, task, "manual") == [0, 1, 2]


def test_stopping_the_sandbox_ends_a_batch_after_its_frame():
    with stand_in_gateway() as gateway:
        gateway.records = {"det": record("det", labels=[{"name": "car", "type": "any"}])}
        gateway.invoke = lambda number, asked: Answer([CAR], after=0.2)
        with Sandbox(nuclio=gateway.settings) as server, Client(server.url) as client:
            client.login((server.user, server.password))
            task = client.create_task("a task", [label_spec("car", None)])
            client.upload_images(task.id, {f"{i:03}.png": picture(8, 8, seed=i) for i in range(100)})
            client.json("POST", "/api/lambda/requests", body={"function": "det", "task": task.id})
        assert len(gateway.calls) < 50


def test_function_that_hangs_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("prefect_cvat.sandbox.batch_queue._GRACE_SECONDS", 0.2)
    may_end, has_ended = threading.Event(), threading.Event()

    def invoke(number: int, asked: Asked) -> Answer:
        may_end.wait(20)
        has_ended.set()
        return Answer([CAR])

    with stand_in_gateway() as gateway:
        gateway.records = {"det": record("det", labels=[{"name": "car", "type": "any"}])}
        gateway.invoke = invoke
        with Sandbox(nuclio=gateway.settings) as server, Client(server.url) as client:
            client.login((server.user, server.password))
            task = client.create_task("a task", [label_spec("car", None)])
            client.upload_images(task.id, {"0.png": picture(8, 8)})
            client.json("POST", "/api/lambda/requests", body={"function": "det", "task": task.id})
            until(lambda: gateway.calls)
        assert not has_ended.is_set()
        may_end.set()


@pytest.mark.parametrize("path", ["/api/lambda/functions/det", "/api/lambda/requests"])
def test_task_without_frames_is_the_error_of_its_other_routes(admin, http, path):
    task = admin.json("POST", "/api/tasks", body={"name": "empty", "labels": []})["id"]
    response = http.send("POST", path, {"function": "det", "task": task, "frame": 0})
    assert response.status == 500
    assert b"Server Error (500)" in response.data


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"function": ["This field is required."], "task": ["This field is required."]}),
        ({"function": "det", "task": "x"}, {"task": ["A valid integer is required."]}),
    ],
)
def test_required_fields(http, body, errors):
    assert http.json("POST", "/api/lambda/requests", body, status=400) == errors
