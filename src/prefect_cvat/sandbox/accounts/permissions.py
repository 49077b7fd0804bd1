"""Which projects, tasks and jobs a user may see, and the organization of a request."""

from dataclasses import dataclass

from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import ApiError, bad_request, forbidden, not_found
from prefect_cvat.sandbox.storage.database import Connection, Row

_JOB_STATUS = """CASE WHEN stage = 'annotation' THEN 'annotation'
    WHEN stage = 'acceptance' AND state = 'completed' THEN 'completed' ELSE 'validation' END"""
# As in CVAT, over jobs of every type: the status of the least advanced job. In alphabetical order
# `annotation` comes first and `validation` last.
_TASK_STATUS = f"""coalesce((SELECT iif(min({_JOB_STATUS}) = 'annotation', 'annotation', max({_JOB_STATUS}))
    FROM job WHERE job.task_id = task.id), 'annotation')"""  # noqa: S608 - made of constants
_PROJECT = """
SELECT project.*, owner.username AS owner, assignee.username AS assignee, 'annotation' AS status
FROM project LEFT JOIN user AS owner ON owner.id = project.owner_id
    LEFT JOIN user AS assignee ON assignee.id = project.assignee_id
"""
_TASK = f"""
SELECT task.*, data.id AS data_id, data.size, data.chunk_size, data.image_quality, data.start_frame,
    data.stop_frame, data.frame_filter, coalesce(data.mode, '') AS mode, data.original_chunk_type,
    data.compressed_chunk_type, data.deleted_frames, data.chunks_updated_date, data.validation_mode,
    data.frames_per_job_count, iif(data.id IS NULL, '', '2d') AS dimension,
    iif(data.id IS NULL, '', 'image') AS media_type, project.name AS project_name,
    owner.username AS owner, assignee.username AS assignee, task.bug_tracker AS tracker_link,
    {_TASK_STATUS} AS status
FROM task LEFT JOIN data ON data.task_id = task.id LEFT JOIN project ON project.id = task.project_id
    LEFT JOIN user AS owner ON owner.id = task.owner_id
    LEFT JOIN user AS assignee ON assignee.id = task.assignee_id
"""  # noqa: S608 - made of constants
_JOB = f"""
SELECT job.*, {_JOB_STATUS} AS status, task.name AS task_name, task.project_id, task.organization_id,
    task.consensus_replicas, project.name AS project_name, data.id AS data_id, data.mode, data.chunk_size,
    data.original_chunk_type, data.compressed_chunk_type, '2d' AS dimension, 'image' AS media_type,
    assignee.username AS assignee,
    (SELECT count(*) FROM job AS replica WHERE replica.parent_job_id = job.id) AS replicas_count
FROM job JOIN task ON task.id = job.task_id JOIN data ON data.task_id = job.task_id
    LEFT JOIN project ON project.id = task.project_id
    LEFT JOIN user AS assignee ON assignee.id = job.assignee_id
"""  # noqa: S608 - made of constants
_SELECT = {"project": _PROJECT, "task": _TASK, "job": _JOB}
_MEMBER = "SELECT organization_id FROM membership WHERE user_id = :user"
_VISIBLE_TASK = f"""
    task.owner_id = :user OR task.assignee_id = :user OR task.organization_id IN ({_MEMBER})
    OR task.project_id IN (SELECT id FROM project WHERE owner_id = :user OR assignee_id = :user)
"""  # noqa: S608 - made of constants
# The assignee of a job sees the job, but neither its task nor the other jobs.
_VISIBLE_JOB = f"job.assignee_id = :user OR {_VISIBLE_TASK}"
_VISIBLE_PROJECT = f"""
    project.owner_id = :user OR project.assignee_id = :user OR project.organization_id IN ({_MEMBER})
"""
_VISIBLE = {"project": _VISIBLE_PROJECT, "task": _VISIBLE_TASK, "job": _VISIBLE_JOB}


@dataclass(frozen=True)
class Workspace:
    """The organization that lists are limited to.

    Attributes:
        limited: Whether lists are limited at all.
        organization_id: The organization; None for the personal workspace.
    """

    limited: bool
    organization_id: int | None


def workspace(call: Call, db: Connection) -> Workspace:
    """The workspace of a list request: everything, the personal workspace, or that of an organization.

    Raises:
        ApiError: 404 if the organization does not exist, 403 if the user is not a member, 400 if the header
            and the parameter differ.
    """
    space = requested_workspace(call, db)
    if (
        space.organization_id is not None
        and not call.user.is_superuser
        and not _is_member(db, call.user.id, space.organization_id)
    ):
        raise forbidden()
    return space


def requested_workspace(call: Call, db: Connection) -> Workspace:
    """The workspace of a request, without a check of membership.

    Requests for one object by its id are not limited to a workspace, but CVAT still refuses an unknown one.

    Raises:
        ApiError: 404 if the organization does not exist, 400 if the header and the parameter differ.
    """
    header, parameter, number = (
        call.headers.get("x-organization"),
        call.query.get("org"),
        call.query.get("org_id"),
    )
    if header is not None and parameter is not None and header != parameter:
        raise bad_request(
            [
                'You cannot specify "org" query parameter and "X-Organization" HTTP header'
                " with different values."
            ]
        )
    slug = parameter if parameter is not None else header
    if slug is None and number is None:
        return Workspace(limited=False, organization_id=None)
    if not slug and not number:
        return Workspace(limited=True, organization_id=None)
    row = (
        db.execute("SELECT id FROM organization WHERE slug = ?", (slug,)).fetchone()
        if slug
        else db.execute("SELECT id FROM organization WHERE id = ?", (number,)).fetchone()
    )
    if row is None:
        raise ApiError(404, {"detail": f"{slug or number} organization does not exist."})
    return Workspace(limited=True, organization_id=row["id"])


def visible_tasks(call: Call, db: Connection) -> list[Row]:
    """The tasks in the workspace that the user may see, newest first."""
    return _visible(call, db, "task")


def visible_projects(call: Call, db: Connection) -> list[Row]:
    """The projects in the workspace that the user may see, newest first."""
    return _visible(call, db, "project")


def visible_jobs(call: Call, db: Connection) -> list[Row]:
    """The jobs that the user may see, newest first: jobs of visible tasks, and jobs of the user."""
    return _visible(call, db, "job")


def task_of(call: Call, db: Connection, task_id: int) -> Row:
    """A task with its data.

    Raises:
        ApiError: 404 if it does not exist, 403 if the user may not see it.
    """
    row = row_of(db, "task", task_id)
    if row is None:
        raise not_found("Task")
    _check(call, db, "task", task_id)
    return row


def job_of(call: Call, db: Connection, job_id: int) -> Row:
    """A job, with columns of its task.

    Raises:
        ApiError: 404 if it does not exist, 403 if the user may see neither its task nor the job.
    """
    row = row_of(db, "job", job_id)
    if row is None:
        raise not_found("Job")
    _check(call, db, "job", job_id)
    return row


def task_of_job(db: Connection, job: Row) -> Row:
    """The task of a job, without a permission check: whoever sees the job may use its media and labels."""
    row = row_of(db, "task", job["task_id"])
    if row is None:
        raise not_found("Task")
    return row


def project_of(call: Call, db: Connection, project_id: int) -> Row:
    """A project.

    Raises:
        ApiError: 404 if it does not exist, 403 if the user may not see it.
    """
    row = row_of(db, "project", project_id)
    if row is None:
        raise not_found("Project")
    _check(call, db, "project", project_id)
    return row


def row_of(db: Connection, resource: str, number: int) -> Row | None:
    """A project, a task or a job, without a permission check; None if it does not exist."""
    row: Row | None = db.execute(f"{_SELECT[resource]} WHERE {resource}.id = ?", (number,)).fetchone()
    return row


def jobs_of_task(db: Connection, task_id: int) -> list[Row]:
    """All jobs of a task, ordered by frame."""
    return db.execute(f"{_JOB} WHERE job.task_id = ? ORDER BY job.start_frame, job.id", (task_id,)).fetchall()


def _visible(call: Call, db: Connection, resource: str) -> list[Row]:
    space = workspace(call, db)
    owner = "task" if resource == "job" else resource
    conditions = []
    if not call.user.is_superuser:
        conditions.append(f"({_VISIBLE[resource]})")
    if space.limited:
        conditions.append(f"{owner}.organization_id IS :organization")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return db.execute(
        f"{_SELECT[resource]} {where} ORDER BY {resource}.id DESC",
        {"user": call.user.id, "organization": space.organization_id},
    ).fetchall()


def _check(call: Call, db: Connection, resource: str, number: int) -> None:
    if call.user.is_superuser:
        return
    if not db.execute(
        f"{_SELECT[resource]} WHERE {resource}.id = :id AND ({_VISIBLE[resource]})",
        {"id": number, "user": call.user.id},
    ).fetchone():
        raise forbidden()


def _is_member(db: Connection, user_id: int, organization_id: int) -> bool:
    return (
        db.execute(
            "SELECT 1 FROM membership WHERE user_id = ? AND organization_id = ?", (user_id, organization_id)
        ).fetchone()
        is not None
    )
