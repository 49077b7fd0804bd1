"""Projects, whose tasks share their labels."""

from prefect_cvat.sandbox import access, instants, labels, listing
from prefect_cvat.sandbox.accounts import basic_user, known_user
from prefect_cvat.sandbox.database import Connection, Row
from prefect_cvat.sandbox.exchange import NO_CONTENT, Call, Json, Reply, bad_request


def list_projects(call: Call) -> Reply:
    """GET projects."""
    with call.state.database.read() as db:
        rows = listing.narrowed(call, access.visible_projects(call, db), ("id", "name", "updated_date"))
        return listing.page(call, rows, lambda row: _project(call, db, row))


def create_project(call: Call) -> Reply:
    """POST projects."""
    body = call.json_object()
    if not body.get("name"):
        raise bad_request({"name": ["This field is required."]})
    moment = instants.now()
    with call.state.database.write() as db:
        row = db.execute(
            "INSERT INTO project (name, owner_id, assignee_id, organization_id, bug_tracker, created_date,"
            " updated_date) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                str(body["name"]),
                call.user.id,
                known_user(db, body.get("assignee_id"), "assignee_id"),
                access.workspace(call, db).organization_id,
                str(body.get("bug_tracker") or ""),
                moment,
                moment,
            ),
        ).fetchone()
        labels.add_labels(db, body.get("labels") or [], project_id=row["id"])
        shown = _project(call, db, row)
    return Reply(status=201, json=shown, headers={"Location": call.url(f"projects/{row['id']}")})


def get_project(call: Call) -> Reply:
    """GET projects/ID."""
    with call.state.database.read() as db:
        return Reply(json=_project(call, db, access.project_of(call, db, call.path_id())))


def update_project(call: Call) -> Reply:
    """PATCH projects/ID."""
    with call.state.database.write() as db:
        row = access.project_of(call, db, call.path_id())
        body = call.json_object()
        for column in ("name", "bug_tracker"):
            if column in body:
                db.execute(
                    f"UPDATE project SET {column} = ? WHERE id = ?",  # noqa: S608 - one of two constants
                    (str(body[column]), row["id"]),
                )
        if "assignee_id" in body:
            db.execute(
                "UPDATE project SET assignee_id = ?, assignee_updated_date = ? WHERE id = ?",
                (known_user(db, body["assignee_id"], "assignee_id"), instants.now(), row["id"]),
            )
        if "labels" in body:
            labels.change_labels(db, body["labels"], project_id=row["id"])
        db.execute("UPDATE project SET updated_date = ? WHERE id = ?", (instants.now(), row["id"]))
        return Reply(json=_project(call, db, access.project_of(call, db, row["id"])))


def delete_project(call: Call) -> Reply:
    """DELETE projects/ID, with its tasks."""
    with call.state.database.write() as db:
        row = access.project_of(call, db, call.path_id())
        db.execute("DELETE FROM project WHERE id = ?", (row["id"],))
    return NO_CONTENT


def _project(call: Call, db: Connection, row: Row) -> Json:
    tasks = db.execute(
        "SELECT count(*) AS total, count(data.id) AS filled"
        " FROM task LEFT JOIN data ON data.task_id = task.id"
        " WHERE project_id = ?",
        (row["id"],),
    ).fetchone()
    subsets = db.execute(
        "SELECT DISTINCT subset FROM task WHERE project_id = ? AND subset != ''", (row["id"],)
    ).fetchall()
    return {
        "url": call.url(f"projects/{row['id']}"),
        "id": row["id"],
        "name": row["name"],
        "owner": basic_user(call, db, row["owner_id"]),
        "assignee": basic_user(call, db, row["assignee_id"]),
        "guide_id": None,
        "bug_tracker": row["bug_tracker"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "status": "annotation",
        "dimension": "2d" if tasks["filled"] else None,
        "organization": row["organization_id"],
        "organization_id": row["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "tasks": {"count": tasks["total"], "url": call.url(f"tasks?project_id={row['id']}")},
        "labels": {"url": call.url(f"labels?project_id={row['id']}")},
        "assignee_updated_date": row["assignee_updated_date"],
        "task_subsets": [subset["subset"] for subset in subsets],
    }
