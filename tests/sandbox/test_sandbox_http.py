"""Credentials, headers, lists, ranges, errors and pages, without the SDK."""

import gzip
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
from cvat_sdk.core.proxies.tasks import Task

from polling import until
from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_http import Http

VND = "application/vnd.cvat+json"


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(segment_size=5, chunk_size=4)


def rectangle(task: Task, **changes: Any) -> dict[str, Any]:
    label_id = task.get_labels()[0].id
    return {"type": "rectangle", "frame": 0, "label_id": label_id, "points": [1, 2, 3, 4], **changes}


def test_responses_do_not_wait_for_tcp_acknowledgements(http: Http) -> None:
    http.send("GET", "/api/server/about", anonymous=True)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        http.send("GET", "/api/server/about", anonymous=True)
        times.append(time.perf_counter() - start)
    # With Nagle's algorithm every one takes 40 ms and more, on an idle machine 2 ms are usual.
    assert min(times) < 0.03


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (VND, 200),
        (f"{VND}; version=2.0", 200),
        ("*/*", 200),
        ("text/html", 200),
        ("application/json", 406),
        (f"{VND}; version=9.9", 406),
        ("application/xml", 406),
    ],
)
def test_accept_header_selects_status(http: Http, accept: str, status: int) -> None:
    assert http.send("GET", "/api/users/self", Accept=accept).status == status


def test_refuses_vendor_json_type_in_requests(http: Http) -> None:
    response = http.send("POST", "/api/tasks", {"name": "x"}, Content_Type=VND)
    assert response.status == 415


def test_second_login_returns_same_token_until_logout(http: Http) -> None:
    http.json("POST", "/api/auth/register", {"username": "u", "password1": "p", "password2": "p"}, status=201)
    keys = {http.json("POST", "/api/auth/login", {"username": "u", "password": "p"})["key"] for _ in range(2)}
    assert len(keys) == 1
    token = {"Authorization": f"Token {keys.pop()}"}
    http.json("GET", "/api/users/self", **token)
    http.json("POST", "/api/auth/logout", {}, **token)
    refused = http.send("GET", "/api/users/self", **token)
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == "Token"


def test_session_needs_csrf_token_to_write(http: Http, server: Sandbox) -> None:
    login = http.send(
        "POST", "/api/auth/login", {"username": server.user, "password": server.password}, anonymous=True
    )
    cookies = dict(cookie.partition(";")[0].split("=", 1) for cookie in login.headers.getlist("set-cookie"))
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())

    def write(**headers: str) -> int:
        return http.send("POST", "/api/tasks", {"name": "x"}, anonymous=True, Cookie=cookie, **headers).status

    assert write() == 403
    assert write(X_CSRFToken="wrong") == 403
    assert write(X_CSRFToken=cookies["csrftoken"], Origin="http://evil.test") == 403
    assert write(X_CSRFToken=cookies["csrftoken"], Origin=server.url) == 201


def test_tasks_of_others_are_forbidden_and_not_listed(http: Http, task: Task) -> None:
    http.json(
        "POST", "/api/auth/register", {"username": "other", "password1": "p", "password2": "p"}, status=201
    )
    other = urllib3.make_headers(basic_auth="other:p")
    assert http.send("GET", f"/api/tasks/{task.id}", Authorization=other["authorization"]).status == 403
    assert http.json("GET", "/api/tasks", Authorization=other["authorization"])["count"] == 0
    http.json(
        "PATCH", f"/api/tasks/{task.id}", {"assignee_id": http.json("GET", "/api/users")["results"][0]["id"]}
    )
    assert http.send("GET", f"/api/tasks/{task.id}", Authorization=other["authorization"]).status == 200
    http.json("PATCH", f"/api/tasks/{task.id}", {"assignee_id": None})


def test_tasks_of_organization_are_listed_only_there(http: Http) -> None:
    http.json("POST", "/api/organizations", {"slug": "lab"}, status=201)
    inside = http.json("POST", "/api/tasks", {"name": "inside"}, status=201, X_Organization="lab")["id"]

    def listed(**headers: str) -> list[int]:
        found = http.json("GET", "/api/tasks?page_size=all", **headers)
        return [item["id"] for item in found["results"]]

    assert listed(X_Organization="lab") == [inside]
    assert inside not in listed(X_Organization="")
    assert inside in listed()
    assert http.send("GET", "/api/tasks", X_Organization="none").status == 404
    assert http.send("GET", "/api/tasks?org=other", X_Organization="lab").status == 400


def test_lists_are_paged_newest_first(http: Http, task: Task) -> None:
    first = http.json("GET", f"/api/jobs?task_id={task.id}&page_size=2")
    assert (first["count"], first["previous"]) == (3, None)
    second = json.loads(http.send("GET", first["next"].removeprefix(http.server.url)).data)
    ids = [job["id"] for job in first["results"] + second["results"]]
    assert ids == sorted(ids, reverse=True)
    assert second["next"] is None
    assert http.send("GET", f"/api/jobs?task_id={task.id}&page=9").status == 404


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ({"==": [{"var": "name"}, "one"]}, ["one"]),
        ({"or": [{"==": [{"var": "name"}, "one"]}, {"==": [{"var": "name"}, "two"]}]}, ["two", "one"]),
        ({"and": [{"in": ["w", {"var": "name"}]}, {"!": {"==": [{"var": "name"}, "one"]}}]}, ["two"]),
    ],
)
def test_filters_are_json_logic(rule: Any, names: list[str]) -> None:
    with Sandbox() as server:
        http = Http(server)
        for name in ("one", "two", "three"):
            http.json("POST", "/api/tasks", {"name": name}, status=201)
        response = http.send("GET", f"/api/tasks?{urlencode({'filter': json.dumps(rule)})}")
    assert [item["name"] for item in json.loads(response.data)["results"]] == names


def test_gzips_responses_on_request(http: Http, task: Task) -> None:
    path = f"/api/tasks/{task.id}/data/meta"
    plain = http.send("GET", path, Accept_Encoding="identity")
    packed = http._pool.request(
        "GET",
        http.server.url + path,
        headers={**http._basic, "Accept-Encoding": "gzip"},
        decode_content=False,
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data


def test_serves_byte_ranges_of_chunk(http: Http, task: Task) -> None:
    path = f"/api/tasks/{task.id}/data?type=chunk&number=0&quality=original"
    whole = http.send("GET", path)
    part = http.send("GET", path, Range="bytes=10-19")
    assert (part.status, part.data) == (206, whole.data[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole.data)}"
    assert http.send("GET", path, Range="bytes=-5").data == whole.data[-5:]
    assert http.send("GET", path, Range=f"bytes={len(whole.data)}-").status == 416


def test_failed_write_changes_nothing(http: Http, task: Task) -> None:
    path = f"/api/tasks/{task.id}/annotations"
    http.json("PUT", path, {"shapes": [rectangle(task)]})
    before = http.json("GET", path)
    bad = {"shapes": [rectangle(task, frame=1), rectangle(task, frame=11, label_id=999_999)]}
    assert http.json("PUT", path, bad, status=400) == ["label_id `999999` is invalid"]
    assert http.json("PATCH", f"{path}?action=create", bad, status=400)
    assert http.json("GET", path) == before


def test_writes_update_dates_of_task_and_changed_jobs(http: Http, task: Task) -> None:
    def dates() -> tuple[str, str, list[str]]:
        shown = http.json("GET", f"/api/tasks/{task.id}")
        jobs = http.json("GET", f"/api/jobs?task_id={task.id}&sort=id")["results"]
        meta = http.json("GET", f"/api/tasks/{task.id}/data/meta")
        return meta["chunks_updated_date"], shown["updated_date"], [job["updated_date"] for job in jobs]

    path = f"/api/tasks/{task.id}/annotations"
    chunks, changed, (first, *others) = dates()
    http.json("PATCH", f"{path}?action=create", {"shapes": [rectangle(task)]})
    written = dates()
    assert written[0] == chunks
    assert written[1] > changed
    assert written[2][0] > first
    assert written[2][1:] == others
    http.json("PATCH", f"{path}?action=create", {"shapes": []})
    assert dates() == written


def test_repeated_creation_stores_twice(http: Http, task: Task) -> None:
    path = f"/api/jobs/{task.get_jobs()[-1].id}/annotations"
    http.json("PUT", path, {})
    for _ in range(2):
        http.json("PATCH", f"{path}?action=create", {"shapes": [rectangle(task)]})
    assert len(http.json("GET", path)["shapes"]) == 2


def test_write_completes_after_client_disconnects(http: Http, task: Task) -> None:
    path = f"/api/tasks/{task.id}/annotations"
    http.json("PUT", path, {})
    shapes = [rectangle(task, frame=frame) for frame in range(12)] * 250
    with pytest.raises(urllib3.exceptions.TimeoutError):
        http._pool.request(
            "PATCH",
            f"{http.server.url}{path}?action=create",
            body=json.dumps({"shapes": shapes}),
            headers={**http._basic, "Content-Type": "application/json"},
            timeout=urllib3.Timeout(connect=5, read=0.01),
        )
    assert len(until(lambda: http.json("GET", path)["shapes"], every=0.05)) == 3000
    http.json("PUT", path, {})


def test_task_level_writes_with_pool_include_ground_truth_job(
    http: Http, client: Any, make_task: Callable[..., Task], pictures: list[Any]
) -> None:
    from cvat_sdk import models

    made = client.tasks.create_from_data(
        models.TaskWriteRequest(name="pool", labels=[{"name": "car"}], segment_size=4),
        pictures,
        data_params={
            "sorting_method": "random",
            "validation_params": {
                "mode": "gt_pool",
                "frame_selection_method": "random_uniform",
                "frame_count": 3,
                "frames_per_job_count": 1,
            },
        },
    )
    layout = http.json("GET", f"/api/tasks/{made.id}/validation_layout")
    jobs = {job["type"]: job for job in http.json("GET", f"/api/jobs?task_id={made.id}")["results"]}
    # 9 ordinary frames make 3 jobs with a honeypot each; the 3 validation frames follow.
    assert made.size == 15
    assert layout["validation_frames"] == [12, 13, 14]
    assert layout["honeypot_count"] == 3

    shape = rectangle(made, frame=layout["honeypot_real_frames"][0])
    http.json("PATCH", f"/api/tasks/{made.id}/annotations?action=create", {"shapes": [shape]})

    ground_truth = http.json("GET", f"/api/jobs/{jobs['ground_truth']['id']}/annotations")["shapes"]
    assert [item["frame"] for item in ground_truth] == [shape["frame"]]
    everywhere = http.json("GET", f"/api/tasks/{made.id}/annotations")["shapes"]
    copies = [
        honeypot
        for honeypot, real in zip(layout["honeypot_frames"], layout["honeypot_real_frames"], strict=True)
        if real == shape["frame"]
    ]
    assert sorted(item["frame"] for item in everywhere) == sorted([shape["frame"], *copies])
    track = {"frame": 0, "label_id": shape["label_id"], "shapes": []}
    assert http.send("PUT", f"/api/tasks/{made.id}/annotations", {"tracks": [track]}).status == 400


def test_pages_show_annotations_and_escape_names(http: Http, make_task: Callable[..., Task]) -> None:
    made = make_task([{"name": "<i>car</i>"}])
    http.json("PUT", f"/api/tasks/{made.id}/annotations", {"shapes": [rectangle(made, score=0.25)]})
    job_id = made.get_jobs()[0].id
    pages = [
        http.send("GET", path, anonymous=True).data.decode()
        for path in ("/", f"/tasks/{made.id}", f"/tasks/{made.id}/jobs/{job_id}?frame=0")
    ]
    assert all("NOT CVAT" in page for page in pages)
    assert "<rect" in pages[1]
    assert "&lt;i&gt;car&lt;/i&gt; 0.25" in pages[2]
    assert not any("<i>" in page for page in pages)
    image = re.search(r'<image href="([^"]*)"', pages[2])
    assert image
    assert http.send("GET", image[1], anonymous=True).headers["content-type"] == "image/jpeg"
    assert http.send("GET", "/tasks/999", anonymous=True).status == 404
