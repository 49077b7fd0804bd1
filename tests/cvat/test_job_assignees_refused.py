"""Jobs that are refused to users who may not see their task."""

from types import SimpleNamespace

import pytest

from cvat.assigned_jobs import LABELS, NUMBERS, Numbers, annotate, numbered, track, written
from pictures import picture
from prefect_cvat import Client, annotate_task
from prefect_cvat.cvat.response_checks.honeypot_check import check_has_no_honeypots
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    OrganizationError,
    PermissionDeniedError,
    UnsupportedTaskError,
)
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.plan import read_task


def test_names_the_visible_jobs_if_none_is_given(client, annotator, assign):
    task_id = numbered(client, 6, segment_size=2)
    with pytest.raises(PermissionDeniedError, match="permission"):
        annotate_task(annotator, task_id, Numbers())
    jobs = assign(task_id, 0, 2)
    with pytest.raises(
        PermissionDeniedError,
        match=rf"may not see task {task_id} on .*, but jobs of it: {jobs[0]}, {jobs[1]}; name those",
    ):
        annotate_task(annotator, task_id, Numbers())


def test_refuses_jobs_of_other_tasks(client, annotator, assign, make_task):
    task_id, other = make_task(4, segment_size=2), make_task(4, segment_size=2)
    [job] = assign(task_id, 0)
    [stranger] = assign(other, 0)
    unseen = client.jobs(task_id)[1].id
    with pytest.raises(ValueError, match=rf"job {stranger} is one of task {other}, not of task {task_id}"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job, stranger])
    with pytest.raises(PermissionDeniedError, match=f"/api/jobs/{unseen}"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job, unseen])
    with pytest.raises(NotFoundError, match="there is no job 999999"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job, 999999])


def test_refuses_a_ground_truth_job(client, annotator, assign, make_task):
    task_id = make_task(4)
    body = {"type": "ground_truth", "task_id": task_id, "frame_selection_method": "manual", "frames": [1]}
    client.json("POST", "/api/jobs", body=body)
    [job] = assign(task_id, 1)
    with pytest.raises(ValueError, match=f"job {job} of task {task_id} is of type 'ground_truth'"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job])


@pytest.fixture
def pool(client):
    """A task with a pool of ground truth, and two honeypots in each job."""
    task = client.create_task("a pool", LABELS, segment_size=5)
    client.upload_images(
        task.id,
        {f"{i:04}.png": picture(seed=i) for i in range(15)},
        sorting_method="random",
        validation_params={
            "mode": "gt_pool",
            "frame_selection_method": "random_uniform",
            "frame_count": 5,
            "frames_per_job_count": 2,
        },
    )
    return task.id


@pytest.mark.parametrize("work", [annotate, track])
def test_refuses_jobs_with_hidden_honeypots_and_writes_nothing(client, annotator, assign, pool, work):
    jobs = assign(pool, 0, 1)
    with pytest.raises(
        UnsupportedTaskError, match=rf"task {pool} has a pool of ground-truth frames, and CVAT"
    ):
        work(annotator, pool, jobs)
    assert all(not any(items) for items in written(client, jobs).values())


def test_skips_honeypots_for_users_who_may_see_the_task(client, pool):
    [job, *_] = client.jobs(pool)
    report = annotate_task(
        client, pool, SimpleNamespace(spec=Numbers.spec, detect=lambda *_: []), jobs=[job.id]
    )
    assert report.left_out["honeypot"] == 4
    assert report.frames == 5


def test_refuses_jobs_if_honeypots_are_unknown(client, annotator, assign, make_task, monkeypatch):
    task_id = make_task(4, segment_size=2)
    [number] = assign(task_id, 0)
    token = annotator.json("POST", "/api/auth/access_tokens", body={"name": "reads", "read_only": True})
    with (
        Client(client.url, access_token=token["value"]) as reader,
        pytest.raises(UnsupportedTaskError, match=rf"job {number} .* may have honeypots, .*403"),
    ):
        read_task(reader, task_id, Selection(jobs=[number]))
    job = annotator.job(number)
    monkeypatch.setattr(Client, "create_job_annotations", lambda *_: SimpleNamespace(tracks=[{"id": 1}]))
    deleted = []
    monkeypatch.setattr(Client, "delete_job_annotations", lambda _, job, body: deleted.append((job, body)))
    with pytest.raises(UnsupportedTaskError, match="CVAT accepted an invalid track"):
        check_has_no_honeypots(annotator, job)
    assert deleted == [(number, {"tags": [], "shapes": [], "tracks": [{"id": 1}]})]


def test_retries_the_honeypot_check(client, annotator, assign, sandbox, make_task):
    task_id = make_task(4, segment_size=2)
    [number] = assign(task_id, 0)
    sandbox.faults.set(
        [
            {
                "methods": ["PATCH"],
                "path": "/annotations$",
                "fault": {"kind": "status", "status": 502},
                "times": 2,
            }
        ]
    )
    try:
        check_has_no_honeypots(annotator, annotator.job(number))
    finally:
        sandbox.faults.clear()
    assert client.job_annotations(number).tracks == []


def test_refuses_meta_that_contradicts_the_job(client, annotator, assign, make_task, monkeypatch):
    task_id = make_task(4, segment_size=2)
    [number] = assign(task_id, 0)
    meta = annotator.job_meta(number)
    monkeypatch.setattr(Client, "job_meta", lambda *_: meta.model_copy(update={"size": 9}))
    with pytest.raises(InvalidResponseError, match=rf"job {number} has 2 frames, but its data/meta has 9"):
        read_task(annotator, task_id, Selection(jobs=[number]))


def test_checks_the_organization_of_a_job(sandbox, client, annotator, assign):
    slug = f"org-of-jobs-{next(NUMBERS)}"
    number = client.json("POST", "/api/organizations", body={"slug": slug})["id"]
    with Client(sandbox.url, organization=slug) as inside:
        inside.login((sandbox.user, sandbox.password))
        task_id = numbered(inside, 6, segment_size=2)
    [job] = assign(task_id, 1)
    with Client(sandbox.url, organization="") as personal:
        personal.login((annotator.user().username, "p"))
        with pytest.raises(
            OrganizationError,
            match=rf"job {job} is in the organization number {number}, not in the personal workspace",
        ):
            annotate(personal, task_id, [job])
    assert annotate(annotator, task_id, [job]).added == 4
