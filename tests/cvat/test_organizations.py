"""A task is annotated in the organization that it belongs to."""

import itertools
import json

import pytest

from command_line import run_command_text
from pictures import picture
from pool_tasks import create_pool_task
from prefect_cvat import Client, annotate_task, refine_task, track_task, undo_run
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    OrganizationError,
    PermissionDeniedError,
    PrefectCvatError,
)
from prefect_cvat.export import export_task
from prefect_cvat.options.task_selection_options import TaskSelection
from prefect_cvat.planning.plan import read_task
from prefect_cvat.planning.task_search import find_tasks
from scripted_server import Answer, scripted_server

SLUGS = (f"lab{number}" for number in itertools.count())


class Boxes:
    """Finds a car on each frame."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def detect(self, context, image):
        return [rectangle(1, [2, 2, 20, 20], score=0.9)]


class Outlines:
    """Finds nothing in a box."""

    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)

    def detect(self, context, image, prompts):
        return []


@pytest.fixture
def connect(sandbox):
    """Connect as the administrator, in an organization."""
    clients = []

    def connect(organization):
        clients.append(Client(sandbox.url, organization=organization))
        clients[-1].login((sandbox.user, sandbox.password))
        return clients[-1]

    yield connect
    for opened in clients:
        opened.close()


@pytest.fixture
def lab(client):
    """An organization."""
    slug = next(SLUGS)
    return client.json("POST", "/api/organizations", body={"slug": slug})["slug"]


@pytest.fixture
def other(client):
    """Another organization of the same user."""
    slug = next(SLUGS)
    return client.json("POST", "/api/organizations", body={"slug": slug})["slug"]


@pytest.fixture
def task_id(connect, lab):
    """A task of `lab` with six frames in three jobs."""
    inside = connect(lab)
    task = inside.create_task("inside", [label_spec("car", None)], segment_size=2)
    inside.upload_images(task.id, {f"{i}.png": picture(seed=i) for i in range(6)}, chunk_size=2)
    return task.id


WORK = {
    "annotate": lambda client, task_id, folder: annotate_task(client, task_id, Boxes()),
    "track": lambda client, task_id, folder: track_task(client, task_id, Boxes()),
    "refine": lambda client, task_id, folder: refine_task(client, task_id, Outlines()),
    "evaluate": lambda client, task_id, folder: evaluate_task(client, task_id, Boxes(), all_frames=True),
    "export": lambda client, task_id, folder: export_task(client, task_id, Boxes(), folder=folder),
    "read_task": lambda client, task_id, folder: read_task(client, task_id),
    "jobs": lambda client, task_id, folder: client.jobs(task_id),
}


@pytest.mark.parametrize("work", WORK)
def test_names_both_organizations_in_the_error(client, connect, lab, other, task_id, tmp_path, work):
    with pytest.raises(
        OrganizationError,
        match=rf"^task {task_id} is in the organization '{lab}', not in '{other}'; name '{lab}', or none",
    ):
        WORK[work](connect(other), task_id, tmp_path / "dataset")
    assert client.task_annotations(task_id).shapes == []


@pytest.mark.parametrize("work", WORK)
def test_reports_an_unknown_organization(connect, task_id, tmp_path, work):
    with pytest.raises(OrganizationError, match=r"^there is no organization 'nosuch' on http") as error:
        WORK[work](connect("nosuch"), task_id, tmp_path / "dataset")
    assert not isinstance(error.value, NotFoundError)  # which looks like a deleted task


def test_refuses_a_task_of_an_organization_in_the_personal_workspace(connect, lab, task_id):
    with pytest.raises(
        OrganizationError, match=rf"task {task_id} is in the organization '{lab}', not in the personal"
    ):
        annotate_task(connect(""), task_id, Boxes())


def test_refuses_a_personal_task_in_an_organization(client, connect, make_task, lab):
    own = make_task(2)
    with pytest.raises(
        OrganizationError, match=rf"task {own} is in no organization, not in '{lab}'; name none"
    ):
        annotate_task(connect(lab), own, Boxes())
    assert annotate_task(connect(""), own, Boxes()).added == 2


def test_names_an_organization_without_the_user(sandbox, client, connect, lab, task_id):
    account = {"username": f"guest-{task_id}", "password1": "p", "password2": "p"}
    guest = Client(sandbox.url, organization=lab)
    guest._transport.json("POST", "/api/auth/register", body=account, anonymous=True)
    guest.login((account["username"], "p"))
    own = Client(sandbox.url)
    own.login((account["username"], "p"))
    task = own.create_task("of the guest", [label_spec("car", None)]).id
    with pytest.raises(OrganizationError, match=rf"task {task} is in no organization, not in '{lab}'"):
        guest.task(task)
    with pytest.raises(PermissionDeniedError, match=rf"is this user in the organization '{lab}'\?$"):
        guest.tasks()


@pytest.mark.parametrize("named", [True, False], ids=["its organization is named", "none is named"])
def test_annotates_a_task_with_or_without_naming_its_organization(connect, lab, task_id, tmp_path, named):
    in_it = connect(lab if named else None)
    report = annotate_task(in_it, task_id, Boxes())
    assert (report.frames, report.added) == (6, 6)
    assert export_task(in_it, task_id, folder=tmp_path / "dataset").frames == 6
    assert task_id in [found.task.id for found in find_tasks(in_it, TaskSelection(), all_tasks=True)]
    assert undo_run(in_it, report.run).removed == 6
    report = track_task(in_it, task_id, Boxes())
    assert report.added > 0


def test_undo_refuses_another_organization(client, connect, lab, other, task_id):
    report = annotate_task(client, task_id, Boxes())
    with pytest.raises(OrganizationError, match=rf"'{lab}', not in '{other}'"):
        undo_run(connect(other), report.run)
    assert undo_run(connect(lab), report.run).removed == 6


# --- "no jobs" against the task's own numbers ---


@pytest.mark.parametrize("hidden", ["all", "one", "the last"])
def test_refuses_an_incomplete_list_of_jobs(client, make_task, monkeypatch, hidden):
    task_id = make_task(6, segment_size=2)
    listed = Client.iter_list

    def iter_list(self, model, path, params):
        found = list(listed(self, model, path, params))
        if path == "/api/jobs":
            found.sort(key=lambda job: job.id)
            found = {"all": [], "one": [found[0], found[2]], "the last": found[:2]}[hidden]
        yield from found

    monkeypatch.setattr(Client, "iter_list", iter_list)
    with pytest.raises(InvalidResponseError, match=rf"task {task_id} has 3 jobs"):
        annotate_task(client, task_id, Boxes())
    with pytest.raises(InvalidResponseError, match=r"lists (none|2) of them"):
        client.jobs(task_id)


def test_requires_jobs_for_all_frames_without_a_job_count(sandbox):
    task = {"id": 5, "name": "five", "size": 9, "data_chunk_size": 3, "data_original_chunk_type": "imageset"}
    job = {"id": 1, "task_id": 5, "start_frame": 0, "stop_frame": 5}
    answers = [
        Answer(body=json.dumps(body).encode())
        for body in (task, {"results": [job], "next": None}, task, {"results": [job], "next": None})
    ]
    with (
        scripted_server(*answers) as server,
        Client(server.url, access_token="t") as client,
        pytest.raises(InvalidResponseError, match="no listed job has frame 6"),
    ):
        client.jobs(5)


def test_accepts_a_job_deleted_between_two_requests():
    def task(count):
        return {"id": 5, "name": "five", "size": 3, "data_chunk_size": 3, "jobs": {"count": count}}

    jobs = {"results": [{"id": 1, "task_id": 5, "start_frame": 0, "stop_frame": 2}], "next": None}
    answers = [Answer(body=json.dumps(body).encode()) for body in (task(2), jobs, task(1), jobs)]
    with scripted_server(*answers) as server, Client(server.url, access_token="t") as client:
        assert [job.id for job in client.jobs(5)] == [1]


def test_counts_ground_truth_jobs_of_a_task_with_a_pool(client):
    task_id = create_pool_task(client)
    assert {job.type for job in client.jobs(task_id)} == {"annotation", "ground_truth"}


def test_accepts_a_task_without_data_and_jobs(client):
    assert client.jobs(client.create_task("empty", []).id) == []


# --- projects ---


@pytest.fixture
def project_id(connect, lab):
    """A project of `lab`."""
    body = {"name": "streets", "labels": [{"name": "car"}]}
    return connect(lab).json("POST", "/api/projects", body=body)["id"]


def test_refuses_a_project_of_another_organization(connect, lab, other, project_id):
    with pytest.raises(
        OrganizationError,
        match=rf"^project {project_id} is in the organization '{lab}', not in '{other}'",
    ):
        list(find_tasks(connect(other), TaskSelection(), project_id))
    assert list(find_tasks(connect(lab), TaskSelection(), project_id)) == []


def test_reports_an_unknown_project(connect, lab):
    with pytest.raises(NotFoundError, match=r"^there is no project 987654 on http"):
        list(find_tasks(connect(lab), TaskSelection(), 987654))


# --- the command line ---

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class create:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def detect(self, context, image):
        return [rectangle(1, [0, 0, 5, 5])]
"""


@pytest.mark.parametrize("command", ["annotate", "track"])
@pytest.mark.parametrize("which", ["other", "nosuch"])
def test_command_line_names_the_organization_and_exits_with_1(
    sandbox, lab, other, task_id, tmp_path, command, which
):
    file = tmp_path / "boxes.py"
    file.write_text(FUNCTION)
    slug = other if which == "other" else "nosuch"
    server = ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}", "--org", slug]
    done = run_command_text(*server, command, task_id, "--function-file", file, COLUMNS="300")
    assert done.returncode == 1, done.stdout
    said = " ".join(done.stderr.split())
    if which == "other":
        assert f"task {task_id} is in the organization '{lab}', not in '{other}'" in said
    else:
        assert "there is no organization 'nosuch'" in said
        assert "there is no task" not in said
    assert "Traceback" not in done.stderr


def test_organization_error_is_a_value_error():
    assert issubclass(OrganizationError, PrefectCvatError)
    assert issubclass(OrganizationError, ValueError)
