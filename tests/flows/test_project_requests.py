"""What a run on a project asks of CVAT and of Prefect: nothing for tasks that are done."""

import re
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from prefect import flow, tags
from prefect.client.orchestration import get_client

from pictures import picture
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.fan_out import FanOut, PlannedRun, run_all
from prefect_cvat.flows.run_history import RunHistory
from prefect_cvat.options.task_selection_options import TaskSelection

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

HERE = FanOut(deployment=None)


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


@pytest.fixture
def project(client):
    """A project with tasks of one frame."""
    body = {"name": "streets", "labels": [{"name": "car"}]}
    project_id = client.json("POST", "/api/projects", body=body)["id"]

    def add(count):
        tasks = [client.create_task(f"task {i}", [], project_id=project_id).id for i in range(count)]
        for task_id in tasks:
            client.upload_images(task_id, {"0.png": picture(seed=task_id)})
        return tasks

    return project_id, add


@pytest.fixture
def annotate(credentials, sandbox, monkeypatch):
    """Run the flow on a project; the result is the report, and the requests to CVAT and to Prefect."""
    to_prefect = []
    send = httpx.Client.send

    def counted(self, request, **options):
        to_prefect.append(f"{request.method} {re.sub('[0-9a-f-]{36}', 'ID', request.url.path)}")
        return send(self, request, **options)

    monkeypatch.setattr(httpx.Client, "send", counted)

    def run(project_id, **options):
        sandbox.requests.clear()
        to_prefect.clear()
        options = {"function": "flow_functions.one_box", "fan_out": HERE, **options}
        report = annotate_project(credentials, project_id, **options)
        of_runs = [route for route in to_prefect if "flow_runs" in route]
        return report, dict(sandbox.requests.by_route), of_runs

    return run


@pytest.fixture
def prefect():
    with get_client(sync_client=True) as client:
        yield client


def test_tasks_that_are_done_cost_no_request(project, annotate, client):
    project_id, add = project
    first = add(3)
    report, _, _ = annotate(project_id)
    assert len(report.completed) == 3

    report, to_cvat, _ = annotate(project_id)  # finds out once that the media are those that were annotated
    assert (len(report.already_annotated), to_cvat["GET /api/tasks/ID/data/meta"]) == (3, 3)
    report, to_cvat, to_prefect = annotate(project_id)
    assert len(report.already_annotated) == 3
    assert not [route for route in to_cvat if "/ID" in route]

    add(4)
    assert len(annotate(project_id)[0].completed) == 4
    annotate(project_id)
    report, same_to_cvat, same_to_prefect = annotate(project_id)
    assert len(report.already_annotated) == 7
    assert (same_to_cvat, set(same_to_prefect)) == (to_cvat, set(to_prefect))
    # Prefect's client repeats what SQLite refuses, which has nothing to do with the number of tasks
    assert abs(len(same_to_prefect) - len(to_prefect)) < 4

    # a correction may come with other changes: its task is looked at once more
    [job] = client.jobs(first[1])
    client.delete_job_annotations(job.id, {"shapes": client.job_annotations(job.id).shapes})
    report, to_cvat, _ = annotate(project_id)
    assert (len(report.already_annotated), to_cvat["GET /api/tasks/ID/data/meta"]) == (7, 1)
    assert "GET /api/tasks/ID/data/meta" not in annotate(project_id)[1]
    assert client.job_annotations(job.id).shapes == []


def test_only_a_task_of_the_same_date_is_unchanged(project, annotate, client):
    project_id, add = project
    [task_id] = add(1)
    annotate(project_id)
    annotate(project_id)
    with get_client(sync_client=True) as prefect:
        runs = [run for run in prefect.read_flow_runs() if run.parameters.get("task_id") == task_id]
        settings = next(tag for tag in runs[0].tags if tag.startswith("settings:"))
        history = RunHistory(prefect, settings)
    task = client.task(task_id)
    later = task.updated_date + timedelta(microseconds=1)
    assert history.is_unchanged(task)
    assert not history.is_unchanged(task.model_copy(update={"updated_date": later}))
    assert not history.is_unchanged(task.model_copy(update={"updated_date": None}))
    assert not history.is_unchanged(task.model_copy(update={"id": task_id + 1}))
    assert not history.has_annotated_all(task, "a_function@of-other-media")


def test_history_goes_on_after_a_flow_run_was_deleted(project, annotate, client, prefect):
    """The tag on it would only save a request of the next run on the project."""
    project_id, add = project
    add(1)
    report, _, _ = annotate(project_id)
    [done] = report.tasks
    [settings] = [tag for tag in prefect.read_flow_run(done.run).tags if tag.startswith("settings:")]
    history = RunHistory(prefect, settings)
    prefect.delete_flow_run(done.run)
    history.mark_unchanged(client.task(done.task_id))


def test_report_links_tasks_and_runs(project, annotate, client):
    project_id, add = project
    add(1)
    report, _, _ = annotate(project_id)
    [task] = report.tasks
    page = report.markdown()
    assert f"[task {task.task_id}]({client.url}/tasks/{task.task_id}) | completed |" in page
    assert f"/runs/flow-run/{task.run})" in page


def test_a_run_that_has_completed_meanwhile_is_not_started_again(prefect_server):
    @flow(persist_result=False)
    def annotated():
        return None

    tag = f"a_function@{uuid4().hex[:16]}"
    with tags(tag):
        state = annotated(return_state=True)

    @flow(persist_result=False)
    def on_project(**options):
        planned = PlannedRun(
            task_id=1, name="task 1", key_tag=tag, jobs=None, tags=(), parameters={}, **options
        )
        return list(run_all([planned], FanOut(deployment="no/such"), {}, lambda _: None))

    [run] = on_project()
    assert (run.was_done, run.id) == (True, state.state_details.flow_run_id)
    with pytest.raises(Exception, match="there is no deployment 'no/such'"):
        on_project(is_repeated=True)


def test_without_finished_run_asks_for_no_history(project, annotate):
    project_id, add = project
    add(1)
    annotate(project_id)
    report, _, _ = annotate(project_id, tasks=TaskSelection(without_finished_run=False))
    assert len(report.completed) == 1
