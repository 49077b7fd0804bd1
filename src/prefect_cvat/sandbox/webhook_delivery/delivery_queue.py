"""Webhook deliveries: the queue of those to send, and the record of those sent."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.storage.database import Connection, Row

# CVAT 2.73: after 5 seconds, 5 minutes, 30 minutes, 3 hours, and four times after a day.
RETRY_SECONDS: tuple[float, ...] = (5, 300, 1_800, 10_800, 86_400, 86_400, 86_400, 86_400)


@dataclass(frozen=True, kw_only=True)
class ReceiverResponse:
    """The response of a webhook's receiver.

    Attributes:
        status_code: HTTP status; 502 if the receiver was unreachable, 504 if it timed out.
        response: The body.
        request_duration: Milliseconds.
    """

    status_code: int
    response: str
    request_duration: int

    @property
    def should_retry(self) -> bool:
        """Whether CVAT sends the delivery again after this response."""
        return self.status_code >= 500 or self.status_code in (408, 429)


def queue(db: Connection, webhook_id: int, request: str, *, redelivery: bool = False) -> None:
    """Append a JSON body to the queue."""
    db.execute(
        "INSERT INTO webhook_queue (webhook_id, request, redelivery, attempt, due) VALUES (?, ?, ?, 1, ?)",
        (webhook_id, request, redelivery, timestamps.now()),
    )


def next_in_queue(db: Connection) -> Row | None:
    """The delivery that is due first, or None."""
    row: Row | None = db.execute("SELECT * FROM webhook_queue ORDER BY due, id LIMIT 1").fetchone()
    return row


def drop(db: Connection, queued: Row) -> None:
    """Remove a delivery from the queue without sending it."""
    db.execute("DELETE FROM webhook_queue WHERE id = ?", (queued["id"],))


def finish_attempt(
    db: Connection, queued: Row, response: ReceiverResponse, retry_seconds: Sequence[float]
) -> None:
    """Record the response, and queue another attempt if the response asks for one and one is left.

    Nothing is recorded if the webhook has been deleted in the meantime.
    """
    attempt = queued["attempt"]
    if response.should_retry and attempt <= len(retry_seconds):
        due = timestamps.after(timedelta(seconds=retry_seconds[attempt - 1]))
        changed = db.execute(
            "UPDATE webhook_queue SET attempt = attempt + 1, due = ? WHERE id = ?", (due, queued["id"])
        )
    else:
        changed = db.execute("DELETE FROM webhook_queue WHERE id = ?", (queued["id"],))
    if changed.rowcount:
        record(
            db,
            queued["webhook_id"],
            queued["request"],
            response,
            attempt=attempt,
            redelivery=queued["redelivery"],
        )


def record(
    db: Connection,
    webhook_id: int,
    request: str,
    response: ReceiverResponse,
    *,
    attempt: int = 1,
    redelivery: bool = False,
) -> Row:
    """Record a delivery and its response, and return the row."""
    sent = json.loads(request)
    moment = timestamps.now()
    row: Row = db.execute(
        "INSERT INTO webhook_delivery (webhook_id, event, status_code, redelivery, attempt, request_duration,"
        " changed_fields, request, response, created_date, updated_date)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            webhook_id,
            sent["event"],
            response.status_code,
            redelivery,
            attempt,
            response.request_duration,
            ",".join(sent.get("before_update", ())),
            request,
            response.response,
            moment,
            moment,
        ),
    ).fetchone()
    return row


def delivery_json(row: Row) -> dict[str, Any]:
    """A delivery as the API returns it."""
    return {
        "id": row["id"],
        "webhook_id": row["webhook_id"],
        "event": row["event"],
        "status_code": row["status_code"],
        "redelivery": bool(row["redelivery"]),
        "attempt": row["attempt"],
        "request_duration": row["request_duration"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "changed_fields": row["changed_fields"],
        "request": json.loads(row["request"]),
        "response": row["response"],
    }
