"""Requests for tasks and jobs, their labels, frames and validation frames."""

from __future__ import annotations

import tempfile

from pydantic import BaseModel

from prefect_cvat.cvat.connection import Connection
from prefect_cvat.cvat.data_meta import read_meta_json
from prefect_cvat.cvat.response_checks.job_list_check import job_list_error
from prefect_cvat.cvat.response_checks.response_parsing import invalid_response, parse_response
from prefect_cvat.exceptions import InvalidResponseError, NoDataError, NotFoundError, UnsupportedTaskError
from prefect_cvat.http.json_limits import MAX_LIST_BYTES
from prefect_cvat.models import DataMeta, Job, Label, Task, ValidationLayout

__all__ = ["TaskRequests", "check_annotatable"]


def check_annotatable(task: Task) -> None:
    """Check that a task has images or a video to annotate.

    Raises:
        NoDataError: It has no data yet.
        UnsupportedTaskError: It is 3D or audio.
    """
    name = f"task {task.id} ({task.name!r})"
    if task.media_type == "audio" or task.dimension == "1d":
        raise UnsupportedTaskError(f"{name} is an audio task; only images and videos can be annotated")
    if task.media_type == "point_cloud" or task.dimension == "3d":
        raise UnsupportedTaskError(f"{name} is a 3D task; only images and videos can be annotated")
    if not task.size or task.data_chunk_size is None:
        raise NoDataError(f"{name} has no data yet; upload its media and wait until they are processed")
    if task.data_original_chunk_type not in ("imageset", "video"):
        raise UnsupportedTaskError(
            f"{name} is made of {task.data_original_chunk_type or 'unknown media'};"
            " only images and videos can be annotated"
        )


class TaskRequests(Connection):
    """Requests for tasks, and for jobs of tasks that the user may not see."""

    # --- tasks ---

    def task(self, task_id: int) -> Task:
        """A task.

        Raises:
            NotFoundError: The task does not exist.
            OrganizationError: It is not in the organization of this client.
            PermissionDeniedError: This user may not see it.
        """
        task = parse_response(Task, self._get_by_id("task", task_id), f"/api/tasks/{task_id}")
        if "organization" in task.model_fields_set:
            self._organization.check(f"task {task_id}", task.organization)
        return task

    def tasks(self, **filters: str | int) -> list[Task]:
        """The tasks that the user may see, ordered by id.

        Args:
            filters: Filters of CVAT's list of tasks, such as `project_id`, `assignee`, or `filter` with
                JSON logic.
        """
        return list(self.iter_list(Task, "/api/tasks", {**filters, "sort": "id"}))

    def annotatable_task(self, task_id: int) -> Task:
        """A task, after checking that it has images or a video.

        Raises:
            NoDataError: It has no data yet.
            UnsupportedTaskError: It is 3D or audio.
        """
        task = self.task(task_id)
        check_annotatable(task)
        return task

    def check_project(self, project_id: int) -> None:
        """Check that this user may see a project: for other projects, CVAT lists no tasks.

        Raises:
            NotFoundError: The project does not exist.
            OrganizationError: It is not in the organization of this client, which hides its tasks.
            PermissionDeniedError: This user may not see it.
        """
        answer = self._get_by_id("project", project_id)
        project = parse_response(_InOrganization, answer, f"/api/projects/{project_id}")
        if "organization" in project.model_fields_set:
            self._organization.check(f"project {project_id}", project.organization)

    def meta(self, task_id: int) -> DataMeta:
        """The media of a task: frames, chunk size, deleted frames."""
        return self._meta(f"/api/tasks/{task_id}/data/meta")

    def labels(self, task_id: int) -> list[Label]:
        """The labels of a task, skeletons with their sublabels."""
        labels = self.iter_list(Label, "/api/labels", {"task_id": task_id})
        return sorted(labels, key=lambda label: label.id)

    def jobs(self, task: Task | int) -> list[Job]:
        """All jobs of a task, of every type, ordered by id.

        Args:
            task: The task, or its id.

        Raises:
            InvalidResponseError: The server lists fewer jobs than the task has.
            OrganizationError: The task is not in the organization of this client.
        """
        task = self.task(task) if isinstance(task, int) else task
        jobs = self.visible_jobs(task.id)
        if job_list_error(task, jobs) is not None:  # a job may have been deleted between the two requests
            task = self.task(task.id)
            jobs = self.visible_jobs(task.id)
            if (problem := job_list_error(task, jobs)) is not None:
                raise InvalidResponseError(problem)
        return jobs

    def visible_jobs(self, task_id: int) -> list[Job]:
        """The jobs of a task that this user may see, ordered by id."""
        jobs = self.iter_list(Job, "/api/jobs", {"task_id": task_id})
        return sorted(jobs, key=lambda job: job.id)

    def validation_layout(self, task: Task | int) -> ValidationLayout:
        """The validation frames (ground truth, honeypots) of a task. Servers before 2.21 have none.

        Args:
            task: The task, or its id. A task that states that it has no validation (CVAT 2.73:
                `validation_mode` is null) takes no request.
        """
        if isinstance(task, Task):
            if "validation_mode" in task.model_fields_set and task.validation_mode is None:
                return ValidationLayout()
            task = task.id
        path = f"/api/tasks/{task}/validation_layout"
        try:
            answer = self._transport.json("GET", path)
        except NotFoundError:
            return ValidationLayout()
        layout = parse_response(ValidationLayout, answer, path)
        if "mode" not in layout.model_fields_set:  # otherwise honeypots would be annotated
            raise invalid_response(path, "mode: Field required")
        return layout

    # --- jobs, for annotators who may not see the task ---

    def job(self, job_id: int) -> Job:
        """A job.

        Raises:
            NotFoundError: There is no such job.
            OrganizationError: Its task is not in the organization of this client.
            PermissionDeniedError: This user may not see it.
        """
        job = parse_response(Job, self._get_by_id("job", job_id), f"/api/jobs/{job_id}")
        if "organization" in job.model_fields_set:
            self._organization.check(f"job {job_id}", job.organization)
        return job

    def job_meta(self, job_id: int) -> DataMeta:
        """The media of a job; `start_frame` and `stop_frame` are frame numbers in the source."""
        return self._meta(f"/api/jobs/{job_id}/data/meta")

    def job_labels(self, job_id: int) -> list[Label]:
        """The labels of the task of a job, skeletons with their sublabels."""
        labels = self.iter_list(Label, "/api/labels", {"job_id": job_id})
        return sorted(labels, key=lambda label: label.id)

    def _meta(self, path: str) -> DataMeta:
        with tempfile.SpooledTemporaryFile(max_size=2**20) as file:
            self._transport.download(path, file, max_bytes=MAX_LIST_BYTES)
            try:
                answer = read_meta_json(file)
            except ValueError as error:
                raise invalid_response(path, str(error)) from None
        return parse_response(DataMeta, answer, path)


class _InOrganization(BaseModel):
    organization: int | None = None
