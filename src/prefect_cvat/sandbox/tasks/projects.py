"""Routes of projects."""

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.accounts.users import existing_user_id
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import NO_CONTENT, Reply, bad_request
from prefect_cvat.sandbox.tasks import labels
from prefect_cvat.sandbox.tasks.change_events import write_and_notify
from prefect_cvat.sandbox.tasks.representations import project_json

_FIELDS = ("id", "name", "owner", "assignee", "status", "updated_date")
_SEARCHED = ("name", "owner", "assignee")


def list_projects(call: Call) -> Reply:
    """GET projects."""
    with call.state.database.read() as db:
        rows = lists.filtered(call, permissions.visible_projects(call, db), _FIELDS, search=_SEARCHED)
        return lists.page(call, rows, lambda row: project_json(call, db, row))


def create_project(call: Call) -> Reply:
    """POST projects."""
    body = call.json_object()
    if not body.get("name"):
        raise bad_request({"name": ["This field is required."]})
    moment = timestamps.now()
    with write_and_notify(call) as db:
        number = db.execute(
            "INSERT INTO project (name, owner_id, assignee_id, organization_id, bug_tracker, created_date,"
            " updated_date) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                str(body["name"]),
                call.user.id,
                existing_user_id(db, body.get("assignee_id"), "assignee_id"),
                permissions.workspace(call, db).organization_id,
                str(body.get("bug_tracker") or ""),
                moment,
                moment,
            ),
        ).fetchone()["id"]
        labels.add_labels(db, body.get("labels") or [], project_id=number)
        shown = project_json(call, db, permissions.project_of(call, db, number))
    return Reply(status=201, json=shown, headers={"Location": call.url(f"projects/{number}")})


def get_project(call: Call) -> Reply:
    """GET projects/ID."""
    with call.state.database.read() as db:
        return Reply(json=project_json(call, db, permissions.project_of(call, db, call.path_id())))


def update_project(call: Call) -> Reply:
    """PATCH projects/ID."""
    with write_and_notify(call) as db:
        row = permissions.project_of(call, db, call.path_id())
        body = call.json_object()
        for column in ("name", "bug_tracker"):
            if column in body:
                db.execute(
                    f"UPDATE project SET {column} = ? WHERE id = ?",  # noqa: S608 - one of two constants
                    (str(body[column]), row["id"]),
                )
        if "assignee_id" in body and body["assignee_id"] != row["assignee_id"]:
            db.execute(
                "UPDATE project SET assignee_id = ?, assignee_updated_date = ? WHERE id = ?",
                (existing_user_id(db, body["assignee_id"], "assignee_id"), timestamps.now(), row["id"]),
            )
        if "labels" in body:
            labels.change_labels(db, body["labels"], project_id=row["id"])
        db.execute("UPDATE project SET updated_date = ? WHERE id = ?", (timestamps.now(), row["id"]))
        return Reply(json=project_json(call, db, permissions.project_of(call, db, row["id"])))


def delete_project(call: Call) -> Reply:
    """DELETE projects/ID, with its tasks."""
    with write_and_notify(call) as db:
        row = permissions.project_of(call, db, call.path_id())
        db.execute("DELETE FROM project WHERE id = ?", (row["id"],))
    return NO_CONTENT
