"""Routes of tasks."""

import shutil
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.accounts.users import existing_user_id
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import HTML, NO_CONTENT, ApiError, Json, Reply, bad_request, server_error
from prefect_cvat.sandbox.storage.database import Connection
from prefect_cvat.sandbox.tasks import labels
from prefect_cvat.sandbox.tasks.change_events import write_and_notify
from prefect_cvat.sandbox.tasks.representations import task_json

_FIELDS = (
    "id",
    "name",
    "project_id",
    "project_name",
    "owner",
    "assignee",
    "subset",
    "mode",
    "status",
    "dimension",
    "media_type",
    "updated_date",
    "validation_mode",
    "tracker_link",
)
_SEARCHED = ("name", "project_name", "owner", "assignee", "subset", "tracker_link")


def list_tasks(call: Call) -> Reply:
    """GET tasks."""
    with call.state.database.read() as db:
        rows = lists.filtered(call, permissions.visible_tasks(call, db), _FIELDS, search=_SEARCHED)
        return lists.page(call, rows, lambda row: task_json(call, db, row))


def create_task(call: Call) -> Reply:
    """POST tasks: creates a task without data."""
    body = call.json_object()
    if not body.get("name"):
        raise bad_request({"name": ["This field is required."]})
    numbers = {name: _number(body, name) for name in ("segment_size", "overlap", "consensus_replicas")}
    if numbers["consensus_replicas"] == 1:
        raise bad_request({"consensus_replicas": ["Ensure this value is greater than or equal to 2."]})
    moment = timestamps.now()
    with write_and_notify(call) as db:
        project_id = body.get("project_id")
        organization_id = permissions.workspace(call, db).organization_id
        if project_id is not None:
            if body.get("labels"):
                raise bad_request(["Labels of a task in a project are those of the project"])
            if db.execute("SELECT 1 FROM project WHERE id = ?", (project_id,)).fetchone() is None:
                raise bad_request({"project_id": [f'Invalid pk "{project_id}" - object does not exist.']})
            organization_id = permissions.project_of(call, db, project_id)["organization_id"]
        task_id = db.execute(
            "INSERT INTO task (name, owner_id, assignee_id, project_id, organization_id, bug_tracker, subset,"
            " overlap, segment_size, consensus_replicas, created_date, updated_date)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                str(body["name"]),
                call.user.id,
                existing_user_id(db, body.get("assignee_id"), "assignee_id"),
                project_id,
                organization_id,
                str(body.get("bug_tracker") or ""),
                str(body.get("subset") or ""),
                numbers["overlap"],
                numbers["segment_size"] or 0,
                numbers["consensus_replicas"] or 0,
                moment,
                moment,
            ),
        ).fetchone()["id"]
        if project_id is None:
            labels.add_labels(db, body.get("labels") or [], task_id=task_id)
        else:
            db.execute("UPDATE project SET updated_date = ? WHERE id = ?", (moment, project_id))
        shown = task_json(call, db, permissions.task_of(call, db, task_id))
    return Reply(status=201, json=shown, headers={"Location": call.url(f"tasks/{task_id}")})


def get_task(call: Call) -> Reply:
    """GET tasks/ID."""
    # CVAT 2.73 fails on HEAD here.
    if call.method == "HEAD":
        raise server_error()
    with call.state.database.read() as db:
        return Reply(json=task_json(call, db, permissions.task_of(call, db, call.path_id())))


def update_task(call: Call) -> Reply:
    """PATCH tasks/ID."""
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        body = call.json_object()
        for column in ("name", "bug_tracker", "subset"):
            if column in body:
                db.execute(
                    f"UPDATE task SET {column} = ? WHERE id = ?",  # noqa: S608 - one of three constants
                    (str(body[column]), task["id"]),
                )
        for column in ("assignee_id", "owner_id"):
            if column in body:
                user_id = existing_user_id(db, body[column], column)
                db.execute(f"UPDATE task SET {column} = ? WHERE id = ?", (user_id, task["id"]))  # noqa: S608
        if "assignee_id" in body and body["assignee_id"] != task["assignee_id"]:
            db.execute(
                "UPDATE task SET assignee_updated_date = ? WHERE id = ?", (timestamps.now(), task["id"])
            )
        if "labels" in body:
            if task["project_id"] is not None:
                raise bad_request(["Labels of a task in a project are those of the project"])
            labels.change_labels(db, body["labels"], task_id=task["id"])
        mark_task_changed(db, task["id"])
        return Reply(json=task_json(call, db, permissions.task_of(call, db, task["id"])))


def delete_task(call: Call) -> Reply:
    """DELETE tasks/ID, with its data and annotations."""
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        db.execute("DELETE FROM task WHERE id = ?", (task["id"],))
    if task["data_id"] is not None:
        shutil.rmtree(call.state.media(task["data_id"]).parent, ignore_errors=True)
    shutil.rmtree(call.state.uploads(task["id"]), ignore_errors=True)
    return NO_CONTENT


def get_dataset(_call: Call) -> Reply:
    """GET tasks/ID/dataset: 410, since CVAT has removed this endpoint."""
    text = "This endpoint is no longer supported.\nExports are not a part of the sandbox.\n"
    raise ApiError(410, text, media_type=HTML)


def mark_task_changed(db: Connection, task_id: int) -> None:
    """Set the updated date of a task and its project to now."""
    moment = timestamps.now()
    db.execute("UPDATE task SET updated_date = ? WHERE id = ?", (moment, task_id))
    db.execute(
        "UPDATE project SET updated_date = ? WHERE id = (SELECT project_id FROM task WHERE id = ?)",
        (moment, task_id),
    )


def _number(body: Json, name: str) -> int | None:
    value: Any = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request({name: ["A valid integer is required."]})
    if value < 0:
        raise bad_request({name: ["Ensure this value is greater than or equal to 0."]})
    return value
