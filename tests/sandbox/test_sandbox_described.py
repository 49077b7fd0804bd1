"""Responses of CVAT 2.73.0 that were observed but not recorded."""

from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from cvat_sdk.core.proxies.tasks import Task
from PIL import Image

from prefect_cvat.masks import encode_mask
from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_http import Http

JOB, TASK = "jobs", "tasks"
ROUTES = pytest.mark.parametrize("route", [JOB, TASK])


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task()


@pytest.fixture
def annotations(http: Http, task: Task) -> dict[str, str]:
    """The addresses of the annotations of a job and of its task, which have none."""
    http.send("DELETE", f"/api/tasks/{task.id}/annotations")
    return {
        JOB: f"/api/jobs/{task.get_jobs()[0].id}/annotations",
        TASK: f"/api/tasks/{task.id}/annotations",
    }


def rectangle(task: Task, **changes: Any) -> dict[str, Any]:
    label_id = task.get_labels()[0].id
    return {"type": "rectangle", "frame": 0, "label_id": label_id, "points": [1, 2, 3, 4], **changes}


def assert_is_server_error(answer: urllib3.BaseHTTPResponse) -> None:
    assert answer.status == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert b"detail" not in answer.data, "it says nothing of the cause"


# Annotations that are written


@ROUTES
@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("shapes", {"type": "rectangle", "points": [1, 2, 3, 4]}),
        ("tags", {}),
        ("tracks", {"shapes": [{"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}]}),
    ],
)
def test_refuses_deletion_without_id(
    http: Http, task: Task, annotations: dict[str, str], route: str, kind: str, item: dict[str, Any]
) -> None:
    path = annotations[route]
    named = {"frame": 0, "label_id": task.get_labels()[0].id, **item}
    written = http.json("PATCH", f"{path}?action=create", {kind: [named, named]})[kind]
    http.json("PATCH", f"{path}?action=delete", {kind: [written[0], named]}, status=400)
    assert len(http.json("GET", path)[kind]) == 2


@ROUTES
@pytest.mark.parametrize("line", ["PATCH ?action=create", "PATCH ?action=update", "PUT "])
def test_track_without_shapes_is_500(
    http: Http, task: Task, annotations: dict[str, str], route: str, line: str
) -> None:
    method, query = line.split(" ")
    path = annotations[route]
    http.json("PATCH", f"{path}?action=create", {"shapes": [rectangle(task)]})
    track = {"frame": 0, "label_id": task.get_labels()[0].id}
    assert_is_server_error(http.send(method, path + query, {"tracks": [track]}))
    assert len(http.json("GET", path)["shapes"]) == 1


@ROUTES
@pytest.mark.parametrize("line", ["PATCH ?action=create", "PATCH ?action=delete", "PUT "])
def test_list_as_body_is_500(
    http: Http, task: Task, annotations: dict[str, str], route: str, line: str
) -> None:
    method, query = line.split(" ")
    path = annotations[route]
    http.json("PATCH", f"{path}?action=create", {"shapes": [rectangle(task)]})
    for body in ([], [rectangle(task)]):
        assert_is_server_error(http.send(method, path + query, body))
    assert len(http.json("GET", path)["shapes"]) == 1


def test_stores_mask_without_pixels(http: Http, task: Task, annotations: dict[str, str]) -> None:
    points = encode_mask([[False] * 4] * 3)
    assert list(points) == [1, 0, 0, 0, 0]
    mask = rectangle(task, type="mask", points=list(points))
    http.json("PATCH", f"{annotations[JOB]}?action=create", {"shapes": [mask]})
    (stored,) = http.json("GET", annotations[JOB])["shapes"]
    assert stored["points"] == [1, 0, 0, 0, 0]
    shorter = rectangle(task, type="mask", points=[0, 0, 0, 0])
    http.json("PATCH", f"{annotations[JOB]}?action=create", {"shapes": [shorter]}, status=400)


@ROUTES
def test_update_keeps_ids(http: Http, task: Task, annotations: dict[str, str], route: str) -> None:
    path = annotations[route]
    tag = {"frame": 0, "label_id": task.get_labels()[0].id}
    track = {**tag, "shapes": [{"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}]}
    made = {"tags": [tag], "shapes": [rectangle(task)], "tracks": [track]}
    written = http.json("PATCH", f"{path}?action=create", made)
    for kind in made:
        written[kind][0]["group"] = 7
    http.json("PATCH", f"{path}?action=update", {kind: written[kind] for kind in made})
    kept = http.json("GET", path)
    assert {kind: [(one["id"], one["group"]) for one in kept[kind]] for kind in made} == {
        kind: [(written[kind][0]["id"], 7)] for kind in made
    }


@pytest.mark.parametrize(("offset", "seen"), [(0, 1), (60, 2)])
def test_joins_tracks_of_overlapping_jobs_only_if_they_agree(
    http: Http, make_task: Callable[..., Task], offset: int, seen: int
) -> None:
    made = make_task(segment_size=7, overlap=2)
    first, second = sorted(made.get_jobs(), key=lambda job: job.start_frame)
    assert second.start_frame == first.stop_frame - 1
    label_id = made.get_labels()[0].id
    for job, shift in ((first, 0), (second, offset)):
        frame = job.start_frame
        keyframe = {"type": "rectangle", "frame": frame, "points": [shift, 2, shift + 20, 30]}
        track = {"frame": frame, "label_id": label_id, "shapes": [keyframe]}
        http.json("PATCH", f"/api/jobs/{job.id}/annotations?action=create", {"tracks": [track]})
    assert len(http.json("GET", f"/api/tasks/{made.id}/annotations")["tracks"]) == seen


# Tasks, uploads, tokens


def test_head_on_task_is_500(http: Http, task: Task) -> None:
    assert http.send("HEAD", f"/api/tasks/{task.id}").status == 500
    assert http.send("GET", f"/api/tasks/{task.id}").status == 200


@pytest.mark.parametrize("requests", [1, 2])
def test_upload_of_two_files_with_one_name_is_500(
    http: Http, server: Sandbox, tmp_path: Any, requests: int
) -> None:
    picture = tmp_path / "img.png"
    Image.new("RGB", (8, 8)).save(picture)
    body = {"name": "twice", "labels": [{"name": "car"}]}
    path = f"{server.url}/api/tasks/{http.json('POST', '/api/tasks', body, status=201)['id']}/data"
    basic = urllib3.make_headers(basic_auth=f"{server.user}:{server.password}")
    files = [
        (f"client_files[{index}]", (f"{folder}/img.png", picture.read_bytes()))
        for index, folder in enumerate("ab")
    ]

    def post(fields: Any, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib3.request("POST", path, fields=fields, headers=basic | named, retries=False).status

    for _ in range(2):
        assert post([], Upload_Start="true") == 202
        if requests == 1:
            assert post(files, Upload_Multiple="true") == 500
        else:
            assert post(files[:1], Upload_Multiple="true") == 200
            assert post(files[1:], Upload_Multiple="true") == 500
    assert post([], Upload_Start="true") == 202
    assert post(files[:1], Upload_Multiple="true") == 200, "an upload that begins anew has no files yet"


def test_read_only_token_gets_403_on_write(http: Http, task: Task, annotations: dict[str, str]) -> None:
    token = {"name": "looks only", "read_only": True}
    value = http.json("POST", "/api/auth/access_tokens", token, status=201)["value"]
    bearer = {"Authorization": f"Bearer {value}"}
    for path in (f"/api/tasks/{task.id}", *annotations.values()):
        assert http.send("GET", path, **bearer).status == 200
    refused = http.json(
        "PATCH", f"{annotations[JOB]}?action=create", {"shapes": [rectangle(task)]}, status=403, **bearer
    )
    assert refused == {"detail": "You do not have permission to perform this action."}
    assert http.json("GET", annotations[JOB])["shapes"] == []


# fields of cvat-sdk 2.80 that 2.73 does not have


def test_field_names_are_those_of_cvat_2_73(http: Http, make_task: Callable[..., Task]) -> None:
    made = make_task(consensus_replicas=2)
    shown = http.json("GET", f"/api/tasks/{made.id}")
    assert shown["consensus_enabled"] is True
    assert "initial_replicas" not in shown
    jobs = http.json("GET", f"/api/jobs?task_id={made.id}&page_size=all")["results"]
    assert {job["type"] for job in jobs} == {"annotation", "consensus_replica"}
    webhook = {"target_url": "http://127.0.0.1:9/", "type": "server", "events": ["update:task"]}
    assert list(http.json("POST", "/api/webhooks", webhook, status=400)) == ["type"]
