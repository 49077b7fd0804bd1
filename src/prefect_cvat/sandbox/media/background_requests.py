"""Background requests: the progress of the creation of a task's data."""

import json
from datetime import timedelta

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import HTML, ApiError, Json, Reply
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.webhook_delivery import delivery_queue, webhook_events
from prefect_cvat.sandbox.webhook_delivery.webhook_events import EventScope

_COMPLETED = "completed:request[create:task]"
_NEVER_CACHE = {"Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private"}
_KEPT = timedelta(seconds=500)


def list_requests(call: Call) -> Reply:
    """GET requests: those of the user, newest first."""
    with call.state.database.read() as db:
        rows = db.execute(
            f"{_SELECT} WHERE request.owner_id = ? ORDER BY created_date DESC", (call.user.id,)
        ).fetchall()
        rows = lists.filtered(call, rows, ("id", "status", "task_id"), search=("id",))
        return lists.page(call, rows, _request)


def get_request(call: Call) -> Reply:
    """GET requests/RQ_ID."""
    with call.state.database.read() as db:
        row = db.execute(f"{_SELECT} WHERE request.id = ?", (call.params["rq_id"],)).fetchone()
        if row is None:
            raise ApiError(
                404, "There is no request with specified id", media_type=HTML, headers=_NEVER_CACHE
            )
        permissions.task_of(call, db, row["task_id"])
    return Reply(json=_request(row), headers=_NEVER_CACHE)


def queue(db: Connection, task_id: int, owner_id: int) -> str:
    """Record that the creation of data is queued, and return the id of the request."""
    rq_id = _id_of(task_id)
    db.execute(
        "INSERT OR REPLACE INTO request (id, task_id, owner_id, status, message, created_date)"
        " VALUES (?, ?, ?, 'queued', '', ?)",
        (rq_id, task_id, owner_id, timestamps.now()),
    )
    return rq_id


def is_running(db: Connection, task_id: int) -> bool:
    """Whether the data of a task are queued or being created."""
    row = db.execute("SELECT status FROM request WHERE id = ?", (_id_of(task_id),)).fetchone()
    return row is not None and row["status"] in ("queued", "started")


def start(db: Connection, rq_id: str) -> None:
    """Record that a request has started."""
    db.execute(
        "UPDATE request SET status = 'started', message = 'Media files are being extracted...',"
        " started_date = ? WHERE id = ?",
        (timestamps.now(), rq_id),
    )


def finish(db: Connection, rq_id: str, *, failure: str | None = None) -> None:
    """Record the end of a request, and queue webhook events."""
    db.execute(
        "UPDATE request SET status = ?, message = ?, finished_date = ? WHERE id = ?",
        ("finished" if failure is None else "failed", failure or "", timestamps.now(), rq_id),
    )
    row = db.execute(f"{_SELECT} WHERE request.id = ?", (rq_id,)).fetchone()
    if row is None:
        # The task has been deleted, and the request with it.
        return
    scope = EventScope(project_id=row["project_id"], organization_id=row["organization_id"])
    for webhook in webhook_events.subscribers(db, _COMPLETED, scope):
        body = {"event": _COMPLETED, "request": _request(row), "webhook_id": webhook["id"]}
        delivery_queue.queue(db, webhook["id"], json.dumps(body))


def fail_unfinished(db: Connection) -> None:
    """Mark the requests that an earlier server did not finish as failed."""
    for row in db.execute("SELECT id FROM request WHERE status IN ('queued', 'started')").fetchall():
        finish(db, row["id"], failure="The server was stopped")


def _id_of(task_id: int) -> str:
    return f"action=create&target=task&target_id={task_id}"


_SELECT = (
    "SELECT request.*, user.username, task.project_id, task.organization_id"
    " FROM request JOIN user ON user.id = request.owner_id JOIN task ON task.id = request.task_id"
)


def _request(row: Row) -> Json:
    finished = row["finished_date"]
    expiry = None if finished is None else timestamps.written(timestamps.read(finished) + _KEPT)
    return {
        "status": row["status"],
        "message": row["message"],
        "id": row["id"],
        "operation": {
            "type": "create:task",
            "target": "task",
            "project_id": row["project_id"],
            "task_id": row["task_id"],
            "job_id": None,
            "org_id": row["organization_id"],
            "format": None,
            "lightweight": None,
        },
        "progress": 0.0,
        "created_date": row["created_date"],
        "started_date": row["started_date"],
        "finished_date": finished,
        "expiry_date": expiry,
        "owner": {"id": row["owner_id"], "username": row["username"]},
        "result_url": None,
        "result_id": None,
    }
