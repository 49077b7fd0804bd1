"""Routes of issues and their comments. They send no webhook events."""

import json
from collections.abc import Callable
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.accounts.users import basic_user, existing_user_id
from prefect_cvat.sandbox.api import field_checks, lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.field_checks import FieldError
from prefect_cvat.sandbox.api.reply import NO_CONTENT, Json, Reply, bad_request, not_found
from prefect_cvat.sandbox.storage.database import Connection, Row

_ISSUE = """
SELECT issue.id, issue.frame, issue.frame AS frame_id, issue.position, issue.job_id, job.task_id,
    issue.owner_id, issue.assignee_id, iif(issue.resolved, 'true', 'false') AS resolved,
    issue.created_date, issue.updated_date, owner.username AS owner, assignee.username AS assignee,
    (SELECT count(*) FROM comment WHERE comment.issue_id = issue.id) AS comments
FROM issue JOIN job ON job.id = issue.job_id LEFT JOIN user AS owner ON owner.id = issue.owner_id
    LEFT JOIN user AS assignee ON assignee.id = issue.assignee_id
"""
_COMMENT = """
SELECT comment.*, issue.job_id, issue.frame AS frame_id, owner.username AS owner
FROM comment JOIN issue ON issue.id = comment.issue_id LEFT JOIN user AS owner ON owner.id = comment.owner_id
"""
_ISSUE_FIELDS = ("assignee", "frame_id", "id", "job_id", "owner", "resolved", "task_id")
_COMMENT_FIELDS = ("frame_id", "id", "issue_id", "job_id", "owner")
_MAX_FRAME = 2**31 - 1


def list_issues(call: Call) -> Reply:
    """GET issues: those of visible jobs, newest first."""
    with call.state.database.read() as db:
        rows = _visible(call, db, f"{_ISSUE} ORDER BY issue.id DESC")
        rows = lists.filtered(call, rows, _ISSUE_FIELDS, search=("assignee", "owner"))
        return lists.page(call, rows, lambda row: _issue_json(call, db, row))


def create_issue(call: Call) -> Reply:
    """POST issues: creates an issue with its first comment."""
    body = call.json_object()
    required: dict[str, _Check] = {
        "frame": _frame,
        "position": _position,
        "job": field_checks.integer,
        "message": _message,
    }
    optional: dict[str, _Check] = {"resolved": field_checks.boolean}
    with call.state.database.write() as db:
        values = _checked(body, required, optional)
        job = permissions.row_of(db, "job", values["job"])
        if job is None:
            raise bad_request(["Job matching query does not exist."])
        permissions.job_of(call, db, job["id"])
        moment = timestamps.now()
        number = db.execute(
            "INSERT INTO issue (job_id, frame, position, owner_id, assignee_id, resolved, created_date,"
            " updated_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                job["id"],
                values["frame"],
                json.dumps(values["position"]),
                call.user.id,
                existing_user_id(db, body.get("assignee"), "assignee"),
                values.get("resolved", False),
                moment,
                moment,
            ),
        ).fetchone()["id"]
        _add_comment(call, db, number, values["message"])
        shown = _issue_json(call, db, _issue_of(call, db, number))
    return Reply(status=201, json=shown, headers={"Location": call.url(f"issues/{number}")})


def get_issue(call: Call) -> Reply:
    """GET issues/ID."""
    with call.state.database.read() as db:
        return Reply(json=_issue_json(call, db, _issue_of(call, db, call.path_id())))


def update_issue(call: Call) -> Reply:
    """PATCH issues/ID: changes position, assignee and whether it is resolved."""
    with call.state.database.write() as db:
        row = _issue_of(call, db, call.path_id())
        body = call.json_object()
        values = _checked(body, {}, {"position": _position, "resolved": field_checks.boolean})
        assignee = body.get("assignee", row["assignee_id"])
        db.execute(
            "UPDATE issue SET position = ?, assignee_id = ?, resolved = ?, updated_date = ? WHERE id = ?",
            (
                json.dumps(values["position"]) if "position" in values else row["position"],
                existing_user_id(db, assignee, "assignee"),
                values.get("resolved", row["resolved"] == "true"),
                timestamps.now(),
                row["id"],
            ),
        )
        return Reply(json=_issue_json(call, db, _issue_of(call, db, row["id"])))


def delete_issue(call: Call) -> Reply:
    """DELETE issues/ID, with its comments."""
    with call.state.database.write() as db:
        row = _issue_of(call, db, call.path_id())
        db.execute("DELETE FROM issue WHERE id = ?", (row["id"],))
    return NO_CONTENT


def list_comments(call: Call) -> Reply:
    """GET comments: those of visible issues, newest first."""
    with call.state.database.read() as db:
        rows = _visible(call, db, f"{_COMMENT} ORDER BY comment.id DESC")
        rows = lists.filtered(call, rows, _COMMENT_FIELDS, search=("owner",))
        return lists.page(call, rows, lambda row: _comment_json(call, db, row))


def create_comment(call: Call) -> Reply:
    """POST comments."""
    body = call.json_object()
    with call.state.database.write() as db:
        values = _checked(body, {"issue": field_checks.integer, "message": _message}, {})
        issue = _issue_of(call, db, values["issue"])
        number = _add_comment(call, db, issue["id"], values["message"])
        shown = _comment_json(call, db, _comment_of(call, db, number))
    return Reply(status=201, json=shown, headers={"Location": call.url(f"comments/{number}")})


def get_comment(call: Call) -> Reply:
    """GET comments/ID."""
    with call.state.database.read() as db:
        return Reply(json=_comment_json(call, db, _comment_of(call, db, call.path_id())))


def _issue_of(call: Call, db: Connection, number: int) -> Row:
    return _one_of(call, db, f"{_ISSUE} WHERE issue.id = ?", number, "Issue")


def _comment_of(call: Call, db: Connection, number: int) -> Row:
    return _one_of(call, db, f"{_COMMENT} WHERE comment.id = ?", number, "Comment")


def _one_of(call: Call, db: Connection, select: str, number: int, what: str) -> Row:
    row: Row | None = db.execute(select, (number,)).fetchone()
    if row is None:
        raise not_found(what)
    permissions.job_of(call, db, row["job_id"])
    return row


def _visible(call: Call, db: Connection, select: str) -> list[Row]:
    """The rows that belong to visible jobs."""
    jobs = {job["id"] for job in permissions.visible_jobs(call, db)}
    return [row for row in db.execute(select).fetchall() if row["job_id"] in jobs]


def _add_comment(call: Call, db: Connection, issue_id: int, message: str) -> int:
    moment = timestamps.now()
    number: int = db.execute(
        "INSERT INTO comment (issue_id, owner_id, message, created_date, updated_date)"
        " VALUES (?, ?, ?, ?, ?) RETURNING id",
        (issue_id, call.user.id, message, moment, moment),
    ).fetchone()["id"]
    return number


def _issue_json(call: Call, db: Connection, row: Row) -> Json:
    return {
        "id": row["id"],
        "frame": row["frame"],
        "position": json.loads(row["position"]),
        "job": row["job_id"],
        "owner": basic_user(call, db, row["owner_id"]),
        "assignee": basic_user(call, db, row["assignee_id"]),
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "resolved": row["resolved"] == "true",
        "comments": {"url": call.url(f"comments?issue_id={row['id']}"), "count": row["comments"]},
    }


def _comment_json(call: Call, db: Connection, row: Row) -> Json:
    return {
        "id": row["id"],
        "issue": row["issue_id"],
        "owner": basic_user(call, db, row["owner_id"]),
        "message": row["message"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
    }


_Check = Callable[[Any], Any]


def _checked(body: Json, required: dict[str, _Check], optional: dict[str, _Check]) -> Json:
    """Check the fields of a body, and report all errors at once."""
    values: Json = {}
    errors: Json = {}
    for name, check in (required | optional).items():
        try:
            if name in body:
                values[name] = check(body[name])
            elif name in required:
                errors[name] = [field_checks.REQUIRED]
        except FieldError as error:
            errors[name] = error.body
    if errors:
        raise bad_request(errors)
    return values


def _frame(value: Any) -> int:
    number = field_checks.natural(value)
    if number > _MAX_FRAME:
        raise FieldError([f"Ensure this value is less than or equal to {_MAX_FRAME}."])
    return number


def _position(value: Any) -> list[float]:
    items = field_checks.list_of_items(value)
    if not items:
        raise FieldError(["This list may not be empty."])
    errors: Json = {}
    numbers: list[float] = []
    for index, item in enumerate(items):
        try:
            numbers.append(float(item))
        except (TypeError, ValueError):
            errors[str(index)] = ["A valid number is required."]
    if errors:
        raise FieldError(errors)
    return numbers


def _message(value: Any) -> str:
    if value is None:
        raise FieldError(["This field may not be null."])
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise FieldError(["Not a valid string."])
    text = str(value).strip()
    if not text:
        raise FieldError(["This field may not be blank."])
    return text
