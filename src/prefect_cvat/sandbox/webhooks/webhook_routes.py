"""Routes of webhooks and their deliveries."""

import json

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.accounts.users import basic_user
from prefect_cvat.sandbox.api import field_checks, lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.field_checks import FieldError
from prefect_cvat.sandbox.api.reply import (
    NO_CONTENT,
    ApiError,
    Json,
    Reply,
    bad_request,
    forbidden,
    not_found,
    server_error,
)
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.webhook_delivery import delivery_queue, webhook_events
from prefect_cvat.sandbox.webhooks import webhook_body

_SELECT = """
SELECT webhook.*, owner.username AS owner, project.owner_id AS project_owner_id,
    last.status_code AS last_status, last.updated_date AS last_delivery_date
FROM webhook LEFT JOIN user AS owner ON owner.id = webhook.owner_id
    LEFT JOIN project ON project.id = webhook.project_id
    LEFT JOIN webhook_delivery AS last
        ON last.id = (SELECT max(id) FROM webhook_delivery WHERE webhook_id = webhook.id)
"""
_FIELDS = ("description", "id", "owner", "project_id", "target_url", "type", "updated_date")
_SEARCHED = ("description", "owner", "target_url")


def list_events(call: Call) -> Reply:
    """GET webhooks/events?type=project|organization: the events of a type of webhook."""
    webhook_type = call.query.get("type", "all")
    if webhook_type not in webhook_events.EVENTS:
        raise bad_request("Incorrect value of type parameter")
    return Reply(json=webhook_events.events_json(webhook_type))


def list_webhooks(call: Call) -> Reply:
    """GET webhooks: those that the user may see."""
    with call.state.database.read() as db:
        space = permissions.workspace(call, db)
        rows = [
            row
            for row in db.execute(f"{_SELECT} ORDER BY webhook.id DESC").fetchall()
            if _may_manage(call, db, row)
            and (not space.limited or row["organization_id"] == space.organization_id)
        ]
        rows = lists.filtered(call, rows, _FIELDS, search=_SEARCHED)
        return lists.page(call, rows, lambda row: _webhook(call, db, row))


def create_webhook(call: Call) -> Reply:
    """POST webhooks."""
    body = call.json_object()
    with call.state.database.write() as db:
        project = _project_for(call, db, body)
        organization_id = (
            permissions.workspace(call, db).organization_id if project is None else project["organization_id"]
        )
        _require_may_create(call, db, body.get("type"), project, organization_id)
        values = webhook_body.validate_webhook(body)
        is_of_project = values["type"] == "project"
        if is_of_project != (project is not None) or (not is_of_project and organization_id is None):
            # CVAT 2.73 fails here on a constraint of its database.
            raise server_error()
        moment = timestamps.now()
        number = db.execute(
            "INSERT INTO webhook (target_url, description, type, content_type, secret, is_active, enable_ssl,"
            " events, owner_id, project_id, organization_id, created_date, updated_date)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                values["target_url"],
                values["description"],
                values["type"],
                values["content_type"],
                values["secret"],
                values["is_active"],
                values["enable_ssl"],
                json.dumps(values["events"]),
                call.user.id,
                values["project_id"],
                organization_id,
                moment,
                moment,
            ),
        ).fetchone()["id"]
        shown = _webhook(call, db, _webhook_of(call, db, number))
    return Reply(status=201, json=shown, headers={"Location": call.url(f"webhooks/{number}")})


def get_webhook(call: Call) -> Reply:
    """GET webhooks/ID, without its secret."""
    with call.state.database.read() as db:
        return Reply(json=_webhook(call, db, _webhook_of(call, db, call.path_id())))


def update_webhook(call: Call) -> Reply:
    """PATCH webhooks/ID. The type and the project cannot be changed."""
    return _change(call, partial=True)


def replace_webhook(call: Call) -> Reply:
    """PUT webhooks/ID. Missing optional fields, the type and the project stay unchanged."""
    return _change(call, partial=False)


def delete_webhook(call: Call) -> Reply:
    """DELETE webhooks/ID, with its deliveries, also those that are still queued."""
    with call.state.database.write() as db:
        row = _webhook_of(call, db, call.path_id())
        db.execute("DELETE FROM webhook WHERE id = ?", (row["id"],))
    return NO_CONTENT


def ping(call: Call) -> Reply:
    """POST webhooks/ID/ping: sends a test delivery now, even if the webhook is inactive, and returns it."""
    with call.state.database.read() as db:
        row = _webhook_of(call, db, call.path_id())
        body = {
            "event": "ping",
            "webhook": _webhook(call, db, row),
            "sender": basic_user(call, db, call.user.id),
        }
    request = json.dumps(body)
    answer = call.state.sender.send(row, request)
    with call.state.database.write() as db:
        _webhook_of(call, db, row["id"])
        return Reply(json=delivery_queue.delivery_json(delivery_queue.record(db, row["id"], request, answer)))


def list_deliveries(call: Call) -> Reply:
    """GET webhooks/ID/deliveries, newest first."""
    with call.state.database.read() as db:
        row = _webhook_of(call, db, call.path_id())
        rows = db.execute(
            "SELECT * FROM webhook_delivery WHERE webhook_id = ? ORDER BY updated_date DESC, id DESC",
            (row["id"],),
        ).fetchall()
        return lists.page(call, rows, delivery_queue.delivery_json)


def get_delivery(call: Call) -> Reply:
    """GET webhooks/ID/deliveries/DELIVERY_ID."""
    with call.state.database.read() as db:
        return Reply(json=delivery_queue.delivery_json(_delivery_of(call, db)))


def redeliver(call: Call) -> Reply:
    """POST webhooks/ID/deliveries/DELIVERY_ID/redelivery: queues the same body again."""
    with call.state.database.write() as db:
        row = _delivery_of(call, db)
        delivery_queue.queue(db, row["webhook_id"], row["request"], redelivery=True)
    call.state.sender.wake()
    return Reply(json={})


def _change(call: Call, *, partial: bool) -> Reply:
    with call.state.database.write() as db:
        row = _webhook_of(call, db, call.path_id())
        values = webhook_body.validate_webhook(call.json_object(), webhook_type=row["type"], partial=partial)
        if "events" in values:
            values["events"] = json.dumps(values["events"])
        values["updated_date"] = timestamps.now()
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        db.execute(
            f"UPDATE webhook SET {assignments} WHERE id = :id",  # noqa: S608 - names of fields that are checked
            {**values, "id": row["id"]},
        )
        return Reply(json=_webhook(call, db, _webhook_of(call, db, row["id"])))


def _project_for(call: Call, db: Connection, body: Json) -> Row | None:
    try:
        number = field_checks.integer(body.get("project_id"))
    except FieldError:
        # No project, or an invalid one, which `validate_webhook` refuses.
        return None
    try:
        return permissions.project_of(call, db, number)
    except ApiError as error:
        if error.status != 404:
            raise
        raise bad_request([f"Could not find project with provided id: {number}"]) from error


def _require_may_create(
    call: Call, db: Connection, webhook_type: object, project: Row | None, organization_id: int | None
) -> None:
    owns = webhook_type == "project" and project is not None and project["owner_id"] == call.user.id
    is_maintainer = webhook_type in webhook_body.TYPES and _is_maintainer(call, db, organization_id)
    if not (call.user.is_superuser or owns or is_maintainer):
        raise forbidden()


def _webhook_of(call: Call, db: Connection, number: int) -> Row:
    row: Row | None = db.execute(f"{_SELECT} WHERE webhook.id = ?", (number,)).fetchone()
    if row is None:
        raise not_found("Webhook")
    if not _may_manage(call, db, row):
        raise forbidden()
    return row


def _delivery_of(call: Call, db: Connection) -> Row:
    webhook = _webhook_of(call, db, call.path_id())
    row: Row | None = db.execute(
        "SELECT * FROM webhook_delivery WHERE id = ? AND webhook_id = ?",
        (call.params["delivery_id"], webhook["id"]),
    ).fetchone()
    if row is None:
        raise not_found("WebhookDelivery")
    return row


def _may_manage(call: Call, db: Connection, row: Row) -> bool:
    """Whether the user may see and change a webhook: its owner, the project's owner, or a maintainer."""
    return (
        call.user.is_superuser
        or call.user.id in (row["owner_id"], row["project_owner_id"])
        or _is_maintainer(call, db, row["organization_id"])
    )


def _is_maintainer(call: Call, db: Connection, organization_id: int | None) -> bool:
    row = db.execute(
        "SELECT role FROM membership WHERE organization_id = ? AND user_id = ?",
        (organization_id, call.user.id),
    ).fetchone()
    return row is not None and row["role"] in ("owner", "maintainer")


def _webhook(call: Call, db: Connection, row: Row) -> Json:
    shown = {
        "id": row["id"],
        "url": call.url(f"webhooks/{row['id']}"),
        "target_url": row["target_url"],
        "description": row["description"],
        "type": row["type"],
        "content_type": row["content_type"],
        "is_active": bool(row["is_active"]),
        "enable_ssl": bool(row["enable_ssl"]),
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "owner": basic_user(call, db, row["owner_id"]),
        "project_id": row["project_id"],
        "organization": row["organization_id"],
        "events": json.loads(row["events"]),
    }
    if row["last_status"] is not None:
        shown |= {"last_status": row["last_status"], "last_delivery_date": row["last_delivery_date"]}
    return shown
