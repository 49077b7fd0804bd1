"""Permissions and organizations, as observed on CVAT 2.73."""

from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from cvat_sdk.core.proxies.tasks import Task

from pictures import picture
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from sandbox.sandbox_http import Http

FORBIDDEN = {"detail": "You do not have permission to perform this action."}


def register(http: Http, name: str) -> tuple[int, dict[str, str]]:
    """A new user: the id, and the header to log in with."""
    http.json(
        "POST", "/api/auth/register", {"username": name, "password1": "p", "password2": "p"}, status=201
    )
    login = {"Authorization": urllib3.make_headers(basic_auth=f"{name}:p")["authorization"]}
    return http.json("GET", "/api/users/self", **login)["id"], login


def jobs_of(http: Http, task: int) -> list[int]:
    """The jobs of a task, in the order of their frames."""
    found = http.json("GET", f"/api/jobs?task_id={task}&sort=id")
    return [job["id"] for job in found["results"]]


def create(client: Client, segment_size: int, **data: Any) -> int:
    """A task of twelve pictures."""
    task = client.create_task("a task", [label_spec("car", None)], segment_size=segment_size).id
    client.upload_images(task, {f"{i:02}.png": picture(32, 24, seed=i) for i in range(12)}, **data)
    return task


# --- organizations ---


@pytest.fixture(scope="module")
def in_lab(http: Http) -> int:
    """A task with data in the organization `lab`; there is one called `other` too."""
    for slug in ("lab", "other"):
        http.json("POST", "/api/organizations", {"slug": slug}, status=201)
    with Client(http.server.url, organization="lab") as client:
        client.login((http.server.user, http.server.password))
        return create(client, segment_size=6)


BY_ID = [
    "/api/tasks/{task}",
    "/api/tasks/{task}/data/meta",
    "/api/tasks/{task}/data?type=chunk&number=0&quality=original",
    "/api/tasks/{task}/annotations",
    "/api/tasks/{task}/validation_layout",
    "/api/jobs/{job}",
    "/api/jobs/{job}/data/meta",
    "/api/jobs/{job}/data?type=chunk&index=0&quality=original",
    "/api/jobs/{job}/annotations",
]


@pytest.mark.parametrize("path", BY_ID)
def test_requests_by_id_ignore_the_organization(http: Http, in_lab: int, path: str) -> None:
    path = path.format(task=in_lab, job=jobs_of(http, in_lab)[0])
    assert http.send("GET", path, X_Organization="other").status == 200


@pytest.mark.parametrize("organization", ["other", ""])
def test_lists_jobs_and_labels_only_in_the_organization_of_the_task(
    http: Http, in_lab: int, organization: str
) -> None:
    for path, there in (("/api/jobs", 2), ("/api/labels", 1)):
        listed = http.json("GET", f"{path}?task_id={in_lab}", X_Organization=organization)
        assert (listed["count"], listed["results"]) == (0, [])
        assert http.json("GET", f"{path}?task_id={in_lab}", X_Organization="lab")["count"] == there
        assert http.json("GET", f"{path}?task_id={in_lab}")["count"] == there


@pytest.mark.parametrize("path", [*BY_ID, "/api/jobs?task_id={task}", "/api/users/self"])
def test_unknown_organization_is_404_on_every_route(http: Http, in_lab: int, path: str) -> None:
    path = path.format(task=in_lab, job=jobs_of(http, in_lab)[0])
    answer = http.json("GET", path, status=404, X_Organization="nosuch")
    assert answer == {"detail": "nosuch organization does not exist."}


def test_task_and_jobs_contain_their_organization(http: Http, in_lab: int) -> None:
    lab = http.json("GET", "/api/organizations?slug=lab")["results"][0]["id"]
    assert http.json("GET", f"/api/tasks/{in_lab}")["organization"] == lab
    assert http.json("GET", f"/api/jobs/{jobs_of(http, in_lab)[0]}")["organization"] == lab


# --- users who are assigned a job, but not its task ---


class Annotator:
    """A user who is assigned the second job of a task, and nothing else."""

    def __init__(self, http: Http, task: int) -> None:
        self.http = http
        self.task = task
        self.other_job, self.job = jobs_of(http, task)[:2]
        number, self.login = register(http, f"annotator-{task}")
        http.json("PATCH", f"/api/jobs/{self.job}", {"assignee": number})

    def get(self, path: str, status: int = 200) -> Any:
        path = path.format(task=self.task, job=self.job, other=self.other_job)
        return self.http.json("GET", path, status=status, **self.login)

    def status(self, path: str) -> int:
        path = path.format(task=self.task, job=self.job, other=self.other_job)
        return self.http.send("GET", path, **self.login).status


@pytest.fixture(scope="module")
def annotator(http: Http, make_task: Callable[..., Task]) -> Annotator:
    return Annotator(http, make_task(segment_size=6, chunk_size=4).id)


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/{job}",
        "/api/jobs/{job}/data/meta",
        "/api/jobs/{job}/data?type=chunk&index=0&quality=original",
        "/api/jobs/{job}/data?type=chunk&index=1&quality=compressed",
        "/api/jobs/{job}/annotations",
        "/api/labels?job_id={job}",
        "/api/issues?job_id={job}",
    ],
)
def test_assignee_of_job_may_use_its_routes(annotator: Annotator, path: str) -> None:
    assert annotator.status(path) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks/{task}",
        "/api/tasks/{task}/data/meta",
        "/api/tasks/{task}/data?type=chunk&number=0&quality=original",
        "/api/tasks/{task}/annotations",
        "/api/tasks/{task}/validation_layout",
        "/api/labels?task_id={task}",
        "/api/jobs/{other}",
        "/api/jobs/{other}/annotations",
    ],
)
def test_assignee_of_job_may_not_use_its_task_or_other_jobs(annotator: Annotator, path: str) -> None:
    assert annotator.get(path, 403) == FORBIDDEN


def test_assignee_of_job_sees_only_that_job_in_lists(annotator: Annotator) -> None:
    assert [job["id"] for job in annotator.get("/api/jobs?task_id={task}")["results"]] == [annotator.job]
    assert annotator.get("/api/tasks")["count"] == 0


def test_assignee_of_job_may_annotate_it_and_open_issues(annotator: Annotator) -> None:
    http, login = annotator.http, annotator.login
    label = annotator.get("/api/labels?job_id={job}")["results"][0]["id"]
    shape = {"type": "rectangle", "frame": 7, "label_id": label, "points": [1, 2, 3, 4]}
    path = f"/api/jobs/{annotator.job}/annotations"
    written = http.json("PATCH", f"{path}?action=create", {"shapes": [shape]}, **login)
    assert [item["id"] for item in annotator.get(path)["shapes"]] == [written["shapes"][0]["id"]]
    http.json("PATCH", f"{path}?action=delete", {"shapes": written["shapes"]}, **login)
    assert annotator.get(path)["shapes"] == []
    issue = {"job": annotator.job, "frame": 7, "position": [0, 0, 9, 9], "message": "look"}
    http.json("POST", "/api/issues", issue, status=201, **login)
    assert annotator.get("/api/issues?job_id={job}")["count"] == 1


def test_assignee_of_job_may_change_only_its_state(annotator: Annotator) -> None:
    http, login = annotator.http, annotator.login
    path = f"/api/jobs/{annotator.job}"
    assert http.json("PATCH", path, {"state": "in progress"}, **login)["state"] == "in progress"
    assert http.json("PATCH", path, {"stage": "acceptance"}, status=403, **login) == FORBIDDEN
    assert http.json("PATCH", path, {"assignee": None}, status=403, **login) == FORBIDDEN


def test_read_only_token_cannot_write(annotator: Annotator) -> None:
    body = {"name": "for reading", "read_only": True}
    token = annotator.http.json("POST", "/api/auth/access_tokens", body, status=201, **annotator.login)
    login = {"Authorization": f"Bearer {token['value']}"}
    path = f"/api/jobs/{annotator.job}/annotations"
    annotator.http.json("GET", path, **login)
    refused = annotator.http.json("PATCH", f"{path}?action=create", {"shapes": []}, status=403, **login)
    assert refused == FORBIDDEN


# --- jobs of tasks with a pool of ground truth ---


def track_of_no_label(frame: int) -> dict[str, Any]:
    shape = {"type": "rectangle", "frame": frame, "points": [0, 0, 1, 1], "outside": False}
    return {"tracks": [{"frame": frame, "label_id": 0, "shapes": [shape]}]}


def test_refuses_tracks_in_ground_truth_pool_before_checking_labels(http: Http) -> None:
    # CVAT 2.73, JobAnnotation.create: _validate_input_annotations comes before _create
    pool = {"mode": "gt_pool", "frame_selection_method": "manual", "frames": ["00.png", "01.png"]}
    with Client(http.server.url) as client:
        client.login((http.server.user, http.server.password))
        plain = create(client, 0)
        pooled = create(
            client, 0, sorting_method="random", validation_params={**pool, "frames_per_job_count": 1}
        )
    for task, words in (
        (plain, "label_id `0` is invalid"),
        (pooled, "Tracks are not supported when task validation mode is gt_pool"),
    ):
        path = f"/api/jobs/{jobs_of(http, task)[0]}/annotations"
        answer = http.json("PATCH", f"{path}?action=create", track_of_no_label(0), status=400)
        assert answer == [words]
        assert http.json("GET", path)["tracks"] == []
