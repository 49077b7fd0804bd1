"""Creates Prefect events about tasks, jobs and projects of CVAT.

The payload is flat, so that a template such as `{{ event.payload.task_id }}` fills a parameter of a flow.
Automations match the labels of a resource, not the payload. So each value of the payload is also a label:
`cvat.state` has the value of `state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import Event, RelatedResource
from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.http.server_url import server_identity, server_slug

__all__ = [
    "FAILED",
    "READY",
    "Id",
    "JobState",
    "ProjectState",
    "TaskState",
    "deterministic_id",
    "job_event",
    "project_event",
    "task_event",
    "task_failed",
    "task_ready",
    "task_resource_id",
]

READY = "cvat.task.ready"
"""The event that a task has its data, and can be annotated."""

FAILED = "cvat.task.failed"
"""The event that CVAT could not process the data of a task."""

MAX_TEXT = 1000
"""The maximum length of a text in an event. Prefect 3.9 answers 204 to an event of more than 1.5 MB, but
drops it."""

Id = Annotated[int, Field(ge=1)]
"""The id of an object in CVAT."""

Values: TypeAlias = Mapping[str, str | int | None]
"""Values of a payload; None for an unknown one."""


class _State(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _User(_State):
    username: str


class _JobsSummary(_State):
    count: int


class _ObjectState(_State):
    id: Id
    organization: Id | None = None
    assignee: _User | None = None


class _StateInProject(_ObjectState):
    project_id: Id | None = None
    project_name: str | None = None


class TaskState(_StateInProject):
    """The fields of a task, of a webhook or the API, that an event has."""

    name: str = ""
    status: str = ""
    created_date: str = ""
    size: int | None = None
    jobs: _JobsSummary | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the task has frames and jobs to annotate."""
        return bool(self.size) and (self.jobs is None or self.jobs.count > 0)


class JobState(_StateInProject):
    """The fields of a job that an event has."""

    task_id: Id
    task_name: str | None = None
    type: str = ""
    stage: str = ""
    state: str = ""


class ProjectState(_ObjectState):
    """The fields of a project that an event has."""

    name: str = ""
    status: str = ""


def task_ready(task: TaskState, server: str, occurred: datetime) -> Event:
    """The event that the data of a task are ready, with an id that depends on the task alone.

    Prefect 3.9 ignores an event whose id it has received within the last 30 minutes, so the webhook receiver
    and `find new tasks` do not start two runs. The id includes `created_date`, since the task ids of a
    reinstalled server start at 1 again.
    """
    event_id = deterministic_id(server, f"api/tasks/{task.id}/ready/{task.created_date}")
    return task_event(READY, task, server, event_id=event_id, occurred=occurred)


def task_failed(task: TaskState, server: str, message: str, *, event_id: UUID, occurred: datetime) -> Event:
    """The event that CVAT could not process the data of a task, with its error message."""
    return task_event(FAILED, task, server, event_id=event_id, occurred=occurred, message=message)


def task_event(
    name: str, task: TaskState, server: str, *, event_id: UUID, occurred: datetime, **further: str
) -> Event:
    """An event about a task.

    Args:
        name: The name of the event, such as `cvat.task.updated`.
        task: The task.
        server: The URL of the CVAT server.
        event_id: The id of the event; Prefect ignores a second event of the same id.
        occurred: When it happened, or was received.
        further: Further values of the payload.
    """
    payload: Values = {
        "task_id": task.id,
        "task_name": task.name,
        "project_id": task.project_id,
        "status": task.status,
        **further,
    }
    resource = _labels(task_resource_id(server, task.id), task.name)
    return _event(name, task, server, resource, payload, event_id=event_id, occurred=occurred)


def job_event(
    name: str, job: JobState, server: str, *, event_id: UUID, occurred: datetime, **further: str
) -> Event:
    """An event about a job; see `task_event` for the arguments."""
    payload: Values = {
        "job_id": job.id,
        "task_id": job.task_id,
        "task_name": job.task_name,
        "project_id": job.project_id,
        "type": job.type,
        "stage": job.stage,
        "state": job.state,
        **further,
    }
    resource = _labels(f"cvat.job.{server_slug(server)}.{job.id}", f"job {job.id}")
    task = _related("task", task_resource_id(server, job.task_id), job.task_name)
    return _event(name, job, server, resource, payload, task, event_id=event_id, occurred=occurred)


def project_event(
    name: str, project: ProjectState, server: str, *, event_id: UUID, occurred: datetime, **further: str
) -> Event:
    """An event about a project; see `task_event` for the arguments."""
    payload: Values = {
        "project_id": project.id,
        "project_name": project.name,
        "status": project.status,
        **further,
    }
    resource = _labels(_project_resource_id(server, project.id), project.name)
    return _event(name, project, server, resource, payload, event_id=event_id, occurred=occurred)


def task_resource_id(server: str, task_id: int) -> str:
    """The resource id of a task in Prefect, such as `cvat.task.cvat-example-com.42`."""
    return f"cvat.task.{server_slug(server)}.{task_id}"


def deterministic_id(server: str, what: str) -> UUID:
    """An id that depends on the server and a text alone."""
    return uuid5(NAMESPACE_URL, f"{server_identity(server)}/{what}")


def _project_resource_id(server: str, project_id: int) -> str:
    return f"cvat.project.{server_slug(server)}.{project_id}"


def _event(
    name: str,
    state: _ObjectState,
    server: str,
    resource: Mapping[str, str],
    values: Values,
    *related: RelatedResource,
    event_id: UUID,
    occurred: datetime,
) -> Event:
    """An event about an object; its project and its organization are related to it, too."""
    payload = _known(
        {
            **values,
            "organization": state.organization,
            "assignee": None if state.assignee is None else state.assignee.username,
            "server": server,
        }
    )
    return Event.model_validate(
        {
            "id": event_id,
            "event": name,
            "resource": {**resource, **{f"cvat.{key}": str(value) for key, value in payload.items()}},
            "related": [*related, *_owners(server, state)],
            "payload": payload,
            "occurred": occurred,
        }
    )


def _known(values: Values) -> dict[str, str | int]:
    """The known values, without None, which a template would render as text."""
    return {
        key: value[:MAX_TEXT] if isinstance(value, str) else value
        for key, value in values.items()
        if value is not None and value != ""
    }


def _labels(resource_id: str, name: str | None) -> dict[str, str]:
    named = {"prefect.resource.name": name[:MAX_TEXT]} if name else {}
    return {"prefect.resource.id": resource_id, **named}


def _related(role: str, resource_id: str, name: str | None = None) -> RelatedResource:
    return RelatedResource({**_labels(resource_id, name), "prefect.resource.role": role})


def _owners(server: str, state: _ObjectState) -> Iterator[RelatedResource]:
    """The project and the organization of an object."""
    if isinstance(state, _StateInProject) and state.project_id is not None:
        yield _related("project", _project_resource_id(server, state.project_id), state.project_name)
    if state.organization is not None:
        yield _related("organization", f"cvat.organization.{server_slug(server)}.{state.organization}")
