"""Issues, with the official cvat-sdk and over HTTP."""

from collections.abc import Callable

import pytest
from cvat_sdk import Client, models
from cvat_sdk.core.proxies.tasks import Task

from sandbox.sandbox_http import Http

ISSUE = {"frame": 3, "position": [1, 2, 30.5, 40], "message": "look at this"}


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(segment_size=6)


def jobs_of(task: Task) -> list[int]:
    return sorted(job.id for job in task.get_jobs())


@pytest.fixture
def stranger(http: Http) -> str:
    """The login header of a user who may see no task."""
    user = {"username": "stranger", "password1": "Stranger-pass-1", "password2": "Stranger-pass-1"}
    http.send("POST", "/api/auth/register", user)
    login = {"username": user["username"], "password": user["password1"]}
    key = http.json("POST", "/api/auth/login", login)["key"]
    return f"Token {key}"


def test_sdk_creates_and_reads_issue_with_comments(client: Client, task: Task) -> None:
    first, second = jobs_of(task)
    opened = client.issues.create(models.IssueWriteRequest(job=first, **ISSUE))
    client.comments.create(models.CommentWriteRequest(opened.id, message="I have"))

    [read] = client.jobs.retrieve(first).get_issues()
    assert (read.id, read.frame, read.job, read.resolved) == (opened.id, 3, first, False)
    assert read.position == [1, 2, 30.5, 40]
    assert read.owner.username == "admin"
    assert [comment.message for comment in read.get_comments()] == ["I have", "look at this"]
    assert client.jobs.retrieve(second).get_issues() == []
    assert [client.jobs.retrieve(job).issues.count for job in (first, second)] == [1, 0]


def test_sdk_resolves_and_deletes_issue(client: Client, http: Http, task: Task) -> None:
    job = jobs_of(task)[0]
    issue = client.issues.create(models.IssueWriteRequest(job=job, **ISSUE))
    issue.update(models.PatchedIssueWriteRequest(resolved=True))
    assert client.issues.retrieve(issue.id).resolved is True
    assert http.json("GET", f"/api/issues?job_id={job}&resolved=false")["count"] == 0
    assert http.json("GET", f"/api/issues?job_id={job}&resolved=true")["count"] == 1
    issue.remove()
    assert http.json("GET", f"/api/issues?job_id={job}")["count"] == 0
    assert http.json("GET", f"/api/comments?job_id={job}")["count"] == 0


def test_issue_has_fields_of_the_api(http: Http, task: Task) -> None:
    job = jobs_of(task)[0]
    made = http.json("POST", "/api/issues", {"job": job, **ISSUE}, status=201)
    assert list(made) == [
        "id", "frame", "position", "job", "owner", "assignee", "created_date", "updated_date", "resolved",
        "comments",
    ]  # fmt: skip
    assert made["comments"] == {
        "url": f"{http.server.url}/api/comments?issue_id={made['id']}",
        "count": 1,
    }
    assert http.json("GET", f"/api/issues/{made['id']}") == made
    [comment] = http.json("GET", f"/api/comments?issue_id={made['id']}")["results"]
    assert list(comment) == ["id", "issue", "owner", "message", "created_date", "updated_date"]
    assert http.json("GET", f"/api/comments/{comment['id']}") == comment


def test_only_users_who_see_an_issue_may_delete_it(http: Http, task: Task, stranger: str) -> None:
    made = http.json("POST", "/api/issues", {"job": jobs_of(task)[0], **ISSUE}, status=201)
    path = f"/api/issues/{made['id']}"
    http.json("DELETE", path, status=403, authorization=stranger)
    answer = http.send("DELETE", path)
    assert (answer.status, answer.data) == (204, b"")
    assert http.json("DELETE", path, status=404) == {"detail": "No Issue matches the given query."}


def test_issue_lists_are_paged_and_filtered(http: Http, task: Task) -> None:
    first, second = jobs_of(task)
    ids = [
        http.json("POST", "/api/issues", {"job": job, **ISSUE, "frame": frame}, status=201)["id"]
        for job, frame in ((first, 1), (first, 2), (second, 7))
    ]
    page = http.json("GET", f"/api/issues?task_id={task.id}&page_size=2")
    assert (page["count"], [issue["id"] for issue in page["results"]]) == (3, [ids[2], ids[1]])
    assert page["next"] == f"{http.server.url}/api/issues?page=2&page_size=2&task_id={task.id}"
    found = http.json("GET", f"/api/issues?job_id={first}&frame_id=2")
    assert [issue["id"] for issue in found["results"]] == [ids[1]]
    assert http.json("GET", f"/api/comments?job_id={second}&page_size=all")["count"] == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"frame": None}, {"frame": ["This field may not be null."]}),
        ({"frame": -1}, {"frame": ["Ensure this value is greater than or equal to 0."]}),
        ({"frame": 2**31}, {"frame": ["Ensure this value is less than or equal to 2147483647."]}),
        ({"position": []}, {"position": ["This list may not be empty."]}),
        ({"position": [1, "x"]}, {"position": {"1": ["A valid number is required."]}}),
        ({"message": " "}, {"message": ["This field may not be blank."]}),
        ({"job": 999999}, ["Job matching query does not exist."]),
        ({"assignee": 999999}, {"assignee": ['Invalid pk "999999" - object does not exist.']}),
    ],
)
def test_refuses_invalid_issue(http: Http, task: Task, change: dict, error: object) -> None:
    job = jobs_of(task)[0]
    assert http.json("POST", "/api/issues", {"job": job, **ISSUE, **change}, status=400) == error
    assert http.json("GET", f"/api/issues?job_id={job}")["count"] == 0


def test_reports_all_missing_fields_at_once(http: Http) -> None:
    required = ["This field is required."]
    assert http.json("POST", "/api/issues", {}, status=400) == dict.fromkeys(
        ("frame", "position", "job", "message"), required
    )
    assert http.json("POST", "/api/comments", {}, status=400) == dict.fromkeys(("issue", "message"), required)
    assert http.json("GET", "/api/issues/999999", status=404) == {
        "detail": "No Issue matches the given query."
    }


def test_issues_need_permission_for_the_task(http: Http, task: Task, stranger: str) -> None:
    job = jobs_of(task)[0]
    made = http.json("POST", "/api/issues", {"job": job, **ISSUE}, status=201)
    http.json("POST", "/api/issues", {"job": job, **ISSUE}, status=403, authorization=stranger)
    http.json("GET", f"/api/issues/{made['id']}", status=403, authorization=stranger)
    for path in ("issues", "comments"):
        assert http.json("GET", f"/api/{path}?job_id={job}", authorization=stranger)["count"] == 0
        assert http.json("GET", f"/api/{path}?job_id={job}")["count"] == 1
        assert http.send("GET", f"/api/{path}", anonymous=True).status == 401
