"""What is to be sent to webhooks, and what was sent to them, with what came back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.storage.database import Connection, Row

# CVAT 2.73: after 5 seconds, 5 minutes, half an hour, 3 hours, and four times a day.
RETRY_SECONDS: tuple[float, ...] = (5, 300, 1_800, 10_800, 86_400, 86_400, 86_400, 86_400)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: the status, the start of the body, and after how many milliseconds."""

    status_code: int
    response: str
    request_duration: int

    @property
    def asks_for_another_attempt(self) -> bool:
        """Whether CVAT would send it again."""
        return self.status_code >= 500 or self.status_code in (408, 429)


def queue(db: Connection, webhook_id: int, request: str, *, redelivery: bool = False) -> None:
    """Puts a body, which is JSON, behind everything else that is to be sent."""
    db.execute(
        "INSERT INTO webhook_queue (webhook_id, request, redelivery, attempt, due) VALUES (?, ?, ?, 1, ?)",
        (webhook_id, request, redelivery, timestamps.now()),
    )


def first_in_queue(db: Connection) -> Row | None:
    """What is to be sent next, now or later."""
    row: Row | None = db.execute("SELECT * FROM webhook_queue ORDER BY due, id LIMIT 1").fetchone()
    return row


def drop(db: Connection, queued: Row) -> None:
    """Takes something out of the queue unsent."""
    db.execute("DELETE FROM webhook_queue WHERE id = ?", (queued["id"],))


def settle(db: Connection, queued: Row, answer: Answer, retry_seconds: Sequence[float]) -> None:
    """Notes what came back, and queues another attempt where the answer asks for one and one is left.

    A webhook that was deleted meanwhile has no deliveries any more.
    """
    attempt = queued["attempt"]
    if answer.asks_for_another_attempt and attempt <= len(retry_seconds):
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
            answer,
            attempt=attempt,
            redelivery=queued["redelivery"],
        )


def record(
    db: Connection,
    webhook_id: int,
    request: str,
    answer: Answer,
    *,
    attempt: int = 1,
    redelivery: bool = False,
) -> Row:
    """Keeps a body that was sent, with what came back."""
    sent = json.loads(request)
    moment = timestamps.now()
    row: Row = db.execute(
        "INSERT INTO webhook_delivery (webhook_id, event, status_code, redelivery, attempt, request_duration,"
        " changed_fields, request, response, created_date, updated_date)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            webhook_id,
            sent["event"],
            answer.status_code,
            redelivery,
            attempt,
            answer.request_duration,
            ",".join(sent.get("before_update", ())),
            request,
            answer.response,
            moment,
            moment,
        ),
    ).fetchone()
    return row


def shown_delivery(row: Row) -> dict[str, Any]:
    """A delivery as the API shows it."""
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
