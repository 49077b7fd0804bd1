"""Users who may not see a task undo runs on its jobs."""

from datetime import timedelta

import pytest

from cvat.assigned_jobs import annotate, numbered, written
from prefect_cvat import Client, undo_run
from prefect_cvat.exceptions import PermissionDeniedError
from prefect_cvat.planning.task_info import read_jobs


def test_finds_jobs_by_id_without_access_to_the_task(client, annotator, assign, make_task):
    task_id = make_task(6, segment_size=2)
    jobs = assign(task_id, 0, 2)
    of_owner, of_annotator = read_jobs(client, task_id, [*jobs, 999999]), read_jobs(annotator, task_id, jobs)
    assert [job.id for job in of_owner.jobs] == [job.id for job in of_annotator.jobs] == jobs
    assert of_owner.labels == of_annotator.labels
    assert (of_annotator.task.id, of_annotator.task.name) == (task_id, "a task")
    assert of_annotator.identity.jobs == {job.id: job.created_date for job in of_annotator.jobs}
    assert of_owner.identity.differences(of_annotator.identity) == []
    assert of_owner.jobs == of_annotator.jobs
    assert all(job.created_date for job in of_owner.jobs)
    with pytest.raises(PermissionDeniedError):
        read_jobs(annotator, task_id, [])


@pytest.mark.parametrize("by", ["the annotator", "who may see the task"])
@pytest.mark.parametrize("of", ["the annotator", "who may see the task"])
def test_undo_works_without_access_to_the_task(client, annotator, assign, of, by):
    task_id = numbered(client, 6, segment_size=2)
    jobs = assign(task_id, 0)
    who = {"the annotator": annotator, "who may see the task": client}
    report = annotate(who[of], task_id, jobs)
    assert undo_run(who[by], report.run).removed == report.added
    assert not any(any(items) for items in written(client, jobs).values())


def test_undo_refuses_jobs_that_were_recreated(client, annotator, assign, monkeypatch):
    task_id = numbered(client, 6, segment_size=2)
    jobs = assign(task_id, 0)
    report = annotate(annotator, task_id, jobs)
    read = Client.job

    def made_anew(self, job_id):
        job = read(self, job_id)
        return job.model_copy(update={"created_date": job.created_date + timedelta(days=1)})

    monkeypatch.setattr(Client, "job", made_anew)
    with pytest.raises(
        ValueError, match=rf"was on another task {task_id} .* its job {jobs[0]} was created at "
    ):
        undo_run(annotator, report.run)
