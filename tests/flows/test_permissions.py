"""Flows with credentials that cannot see their task: of another organization, or of an annotator."""

import pytest
from pydantic import SecretStr

from pictures import picture
from prefect_cvat import Client
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import OrganizationError
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.fan_out import FanOut
from prefect_cvat.flows.find_new_tasks import find_new_tasks
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

HERE = FanOut(deployment=None)
FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


@pytest.fixture
def of(sandbox):
    """The credentials of an organization."""

    def credentials(organization):
        found = CvatCredentials(
            url=sandbox.url,
            username=sandbox.user,
            password=SecretStr(sandbox.password),
            organization=organization,
        )
        found.save("test-organizations", overwrite=True)
        return CvatCredentials.load("test-organizations")

    return credentials


@pytest.fixture(scope="module")
def project(sandbox):
    """A project of the organization `flow-lab` and a task of it; there is `flow-other` too."""
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        for slug in ("flow-lab", "flow-other"):
            client.json("POST", "/api/organizations", body={"slug": slug})
    with Client(sandbox.url, organization="flow-lab") as client:
        client.login((sandbox.user, sandbox.password))
        body = {"name": "streets", "labels": [{"name": "car"}]}
        project_id = client.json("POST", "/api/projects", body=body)["id"]
        task_id = client.create_task("inside", [], project_id=project_id, segment_size=2).id
        client.upload_images(task_id, {f"{i}.png": picture(seed=i) for i in range(4)})
    return project_id, task_id


def test_run_without_annotations_does_not_count_as_done(of, client, project):
    project_id, task_id = project
    wrong = of("flow-other")
    for run in (
        lambda: annotate_task(task_id, wrong, function=FUNCTION),
        lambda: annotate_shards(task_id, wrong, function=FUNCTION, shard_frames=2),
        lambda: annotate_project(wrong, project_id, function=FUNCTION, fan_out=HERE),
        lambda: find_new_tasks(wrong, project_id),
    ):
        with pytest.raises(OrganizationError, match="is in the organization 'flow-lab', not in 'flow-other'"):
            run()
    assert client.task_annotations(task_id).shapes == []

    report = annotate_project(of("flow-lab"), project_id, function=FUNCTION, fan_out=HERE)
    assert (report.completed, report.already_annotated) == ([f"task {task_id}"], [])
    assert len(client.task_annotations(task_id).shapes) == 4


def test_finds_tasks_of_all_organizations_without_organization(of, project):
    project_id, task_id = project
    settings = {"function": FUNCTION, "labels": LabelOptions(conf_threshold=0.11), "fan_out": HERE}
    report = annotate_project(of(None), project_id, **settings)
    assert report.completed == [f"task {task_id}"]


def test_missing_organization_is_named(of, project):
    _, task_id = project
    with pytest.raises(OrganizationError, match="there is no organization 'nosuch'"):
        annotate_task(task_id, of("nosuch"), function=FUNCTION)


def test_job_assignee_can_run_the_flow_on_the_job(sandbox, client, make_task):
    task_id = make_task(4, segment_size=2)
    job = client.jobs(task_id)[1].id
    body = {"username": "flow-annotator", "password1": "p", "password2": "p"}
    with Client(sandbox.url) as annotator:
        annotator._transport.json("POST", "/api/auth/register", body=body, anonymous=True)
        annotator.login(("flow-annotator", "p"))
        client.json("PATCH", f"/api/jobs/{job}", body={"assignee": annotator.user().id})
    CvatCredentials(url=sandbox.url, username="flow-annotator", password=SecretStr("p")).save(
        "test-annotator", overwrite=True
    )
    own = CvatCredentials.load("test-annotator")
    selected = FrameOptions(jobs=[job])
    report = annotate_task(task_id, own, function=FUNCTION, frames=selected)
    assert (report.frames, report.added, report.url) == (2, 2, f"{client.url}/tasks/{task_id}/jobs/{job}")
    again = annotate_shards(task_id, own, function=FUNCTION, frames=selected, shard_frames=2)
    assert (again.frames, again.already_there, again.added) == (2, 2, 0)
