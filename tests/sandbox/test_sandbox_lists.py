"""Filters of lists, as in CVAT."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from prefect_cvat.sandbox import Sandbox
from prefect_cvat.sandbox.api.json_logic import predicate
from sandbox.sandbox_connection import connect
from sandbox.sandbox_http import Http

FIELDS = ("id", "name", "assignee", "updated_date")
ROW = {"id": 7, "name": "night-7", "assignee": None, "updated_date": "2026-11-22T07:51:13.263354Z"}


@dataclass(frozen=True, kw_only=True)
class Lists:
    """A server with three tasks with data, one of them in a project, and one task without data."""

    http: Http
    project: int
    tasks: dict[str, int]

    def names(self, **query: Any) -> list[str]:
        if "filter" in query:
            query["filter"] = json.dumps(query["filter"])
        found = self.http.json("GET", f"/api/tasks?{urlencode(query)}")
        return [task["name"] for task in found["results"]]

    def jobs(self, **query: Any) -> list[tuple[str, int]]:
        """The names of the tasks and the first frames of the jobs."""
        if "filter" in query:
            query["filter"] = json.dumps(query["filter"])
        found = self.http.json("GET", f"/api/jobs?{urlencode({'sort': 'id', **query})}")
        return [(job["task_name"], job["start_frame"]) for job in found["results"]]

    def of_task(self, name: str) -> list[int]:
        """Its jobs, by their frames."""
        found = self.http.json("GET", f"/api/jobs?task_id={self.tasks[name]}&sort=id")
        return [job["id"] for job in found["results"]]

    def patch_job(self, number: int, **changes: Any) -> dict[str, Any]:
        changed: dict[str, Any] = self.http.json("PATCH", f"/api/jobs/{number}", changes)
        return changed

    def status(self, name: str) -> str:
        return str(self.http.json("GET", f"/api/tasks/{self.tasks[name]}")["status"])


@pytest.fixture(scope="module")
def lists(pictures: list[Path]) -> Iterator[Lists]:
    with Sandbox() as server, connect(server) as client:
        http = Http(server)
        http.json(
            "POST", "/api/auth/register", {"username": "ann", "password1": "p", "password2": "p"}, status=201
        )
        [ann] = [user["id"] for user in http.json("GET", "/api/users?username=ann")["results"]]
        project = http.json("POST", "/api/projects", {"name": "p", "labels": [{"name": "x"}]}, status=201)[
            "id"
        ]
        tasks = {}
        for name, place in (("day", {"project_id": project}), ("night-1", {}), ("night-2", {})):
            body = {
                "name": name,
                "segment_size": 2,
                "assignee_id": ann if name == "night-1" else None,
                **place,
            }
            tasks[name] = http.json("POST", "/api/tasks", body, status=201)["id"]
            client.tasks.retrieve(tasks[name]).upload_data(pictures[:4])
        tasks["empty"] = http.json("POST", "/api/tasks", {"name": "empty"}, status=201)["id"]
        found = Lists(http=http, project=project, tasks=tasks)
        first, second = found.of_task("night-2")
        found.patch_job(first, stage="validation")
        found.patch_job(second, stage="acceptance", state="completed", assignee=ann)
        yield found


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ({"==": [{"var": "status"}, "validation"]}, ["night-2"]),
        ({"in": [{"var": "status"}, ["validation", "completed"]]}, ["night-2"]),
        ({"==": [{"var": "assignee"}, "ann"]}, ["night-1"]),
        ({"!": {"var": "assignee"}}, ["empty", "night-2", "day"]),
        ({"!": {"==": [{"var": "assignee"}, "ann"]}}, ["empty", "night-2", "day"]),
        ({"==": [{"var": "owner"}, "ann"]}, []),
        ({"in": ["night", {"var": "name"}]}, ["night-2", "night-1"]),
        (
            {"and": [{"in": ["night", {"var": "name"}]}, {"!": {"==": [{"var": "name"}, "night-2"]}}]},
            ["night-1"],
        ),
        (
            {"or": [{"==": [{"var": "name"}, "day"]}, {"==": [{"var": "status"}, "validation"]}]},
            ["night-2", "day"],
        ),
        ({"==": [{"var": "mode"}, "annotation"]}, ["night-2", "night-1", "day"]),
        ({"==": [{"var": "dimension"}, "2d"]}, ["night-2", "night-1", "day"]),
        ({">=": [{"var": "updated_date"}, "2020-01-01"]}, ["empty", "night-2", "night-1", "day"]),
        ({"<": [{"var": "updated_date"}, "2020-01-01T00:00:00+02:00"]}, []),
    ],
    ids=str,
)
def test_filters_tasks(lists: Lists, rule: Any, names: list[str]) -> None:
    assert lists.names(filter=rule) == names


def test_filters_tasks_by_exact_updated_date(lists: Lists) -> None:
    changed = lists.http.json("GET", f"/api/tasks/{lists.tasks['night-1']}")["updated_date"]
    assert "night-1" in lists.names(filter={">=": [{"var": "updated_date"}, changed]})
    assert "night-1" not in lists.names(filter={">": [{"var": "updated_date"}, changed]})
    assert lists.names(filter={"==": [{"var": "updated_date"}, changed]}) == ["night-1"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"status": "validation"}, ["night-2"]),
        ({"assignee": "ann"}, ["night-1"]),
        ({"name": "day"}, ["day"]),
        ({"search": "ann"}, ["night-1"]),
        ({"sort": "name", "page_size": 2}, ["day", "empty"]),
        ({"sort": "name", "page_size": 2, "page": 2}, ["night-1", "night-2"]),
        ({"sort": "-status,id"}, ["night-2", "day", "night-1", "empty"]),
        ({"status": "annotation", "mode": "annotation", "sort": "id"}, ["day", "night-1"]),
    ],
    ids=str,
)
def test_filters_tasks_by_query_parameters(lists: Lists, query: dict[str, Any], names: list[str]) -> None:
    assert lists.names(**query) == names


def test_filters_tasks_by_project(lists: Lists) -> None:
    assert lists.names(project_id=lists.project) == ["day"]
    assert lists.names(filter={"in": [{"var": "project_id"}, [lists.project, 999]]}) == ["day"]
    assert lists.names(filter={"==": [{"var": "id"}, str(lists.tasks["day"])]}) == ["day"]


@pytest.mark.parametrize(
    ("query", "jobs"),
    [
        ({"stage": "validation"}, [("night-2", 0)]),
        ({"state": "completed"}, [("night-2", 2)]),
        ({"assignee": "ann"}, [("night-2", 2)]),
        ({"search": "ann"}, [("night-2", 2)]),
        ({"type": "ground_truth"}, []),
        (
            {
                "filter": {
                    "and": [{"==": [{"var": "type"}, "annotation"]}, {"in": ["day", {"var": "task_name"}]}]
                }
            },
            [("day", 0), ("day", 2)],
        ),
        (
            {"filter": {"in": [{"var": "stage"}, ["validation", "acceptance"]]}},
            [("night-2", 0), ("night-2", 2)],
        ),
    ],
    ids=str,
)
def test_filters_jobs(lists: Lists, query: dict[str, Any], jobs: list[tuple[str, int]]) -> None:
    assert lists.jobs(**query) == jobs
    assert set(lists.jobs(**query, task_id=lists.tasks["day"])) == {job for job in jobs if job[0] == "day"}


def test_status_of_task_is_that_of_least_advanced_job(lists: Lists) -> None:
    first, second = lists.of_task("day")
    assert lists.status("day") == "annotation"
    assert lists.patch_job(first, stage="validation")["status"] == "validation"
    assert lists.status("day") == "annotation"
    lists.patch_job(second, stage="validation")
    assert lists.status("day") == "validation"
    accepted = lists.patch_job(second, stage="acceptance")
    assert (accepted["status"], accepted["state"]) == ("validation", "new")
    assert lists.patch_job(second, state="completed")["status"] == "completed"
    assert lists.status("day") == "validation"
    lists.patch_job(first, stage="acceptance", state="completed")
    assert lists.status("day") == "completed"
    assert lists.names(status="completed") == ["day"]
    for job in (first, second):
        assert lists.patch_job(job, stage="annotation")["state"] == "new"
        assert lists.status("day") == "annotation"


def test_assigns_and_unassigns_job(lists: Lists) -> None:
    [job, _] = lists.of_task("night-1")
    me = lists.http.json("GET", "/api/users/self")
    given = lists.patch_job(job, assignee=me["id"])
    assert given["assignee"]["username"] == me["username"]
    assert given["assignee_updated_date"] is not None
    again = lists.patch_job(job, assignee=me["id"])
    assert again["assignee_updated_date"] == given["assignee_updated_date"]
    assert lists.patch_job(job, assignee=None)["assignee"] is None
    lists.http.json("PATCH", f"/api/jobs/{job}", {"assignee": 999_999}, status=400)


def test_filters_projects(lists: Lists) -> None:
    def names(**query: Any) -> list[str]:
        found = lists.http.json("GET", f"/api/projects?{urlencode(query)}")["results"]
        return [project["name"] for project in found]

    assert names(owner="admin", status="annotation") == ["p"]
    assert names(assignee="ann") == []
    assert names(filter=json.dumps({"==": [{"var": "name"}, "p"]})) == ["p"]


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"==": [{"var": "size"}, 1]}, "'size' term is not supported"),
        ({"!=": [{"var": "name"}, "day"]}, "is not implemented"),
        ({"==": ["day", {"var": "name"}]}, "is not implemented"),
        ({"!": [{"var": "name"}]}, "is not implemented"),
        ({"and": []}, "is not implemented"),
        ({}, "an object with one operator"),
        ([], "an object with one operator"),
        ({"<": [{"var": "updated_date"}, "yesterday"]}, "yesterday"),
        ({"==": [{"var": "id"}, "first"]}, "first"),
    ],
    ids=str,
)
def test_refuses_filters_that_cvat_refuses(lists: Lists, rule: Any, complaint: str) -> None:
    query = urlencode({"filter": json.dumps(rule)})
    [message] = lists.http.json("GET", f"/api/tasks?{query}", status=400)
    assert message.startswith("filter: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        ({"<=": [5, {"var": "id"}, 7]}, True),
        ({"<=": [5, {"var": "id"}, 6]}, False),
        ({">": [{"var": "id"}, "6"]}, True),
        ({"==": [{"var": "assignee"}, None]}, True),
        ({"in": [{"var": "assignee"}, ["ann", None]]}, False),
        ({"in": ["a", {"var": "assignee"}]}, False),
        ({"<": [{"var": "assignee"}, "z"]}, False),
        # Neither order is that of the texts.
        ({">": [{"var": "updated_date"}, "2026-11-22T07:51:13Z"]}, True),
        ({"<": [{"var": "updated_date"}, "2026-11-22T05:52:00-02:00"]}, True),
        ({">": [{"var": "updated_date"}, "2026-11-22T09:51:00+02:00"]}, True),
        ({"<=": ["2026-11-22", {"var": "updated_date"}, "2026-11-23"]}, True),
    ],
    ids=str,
)
def test_rules_compare_numbers_strings_and_times(rule: Any, passes: bool) -> None:
    assert predicate(rule, FIELDS)(ROW) is passes
