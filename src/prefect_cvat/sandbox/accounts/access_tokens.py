"""Personal access tokens."""

import secrets

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts.hashing import digest_of
from prefect_cvat.sandbox.accounts.users import basic_user
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import NO_CONTENT, Json, Reply, bad_request, not_found
from prefect_cvat.sandbox.storage.database import Connection, Row


def create_access_token(call: Call) -> Reply:
    """POST auth/access_tokens: the only response with the value of the token."""
    body = call.json_object()
    name = body.get("name")
    if not name:
        raise bad_request({"name": ["This field is required."]})
    value = f"{secrets.token_hex(4)}.{secrets.token_urlsafe(32)}"
    moment = timestamps.now()
    with call.state.database.write() as db:
        row = db.execute(
            "INSERT INTO access_token"
            " (user_id, name, read_only, digest, created_date, updated_date, expiry_date)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                call.user.id,
                str(name),
                bool(body.get("read_only", False)),
                digest_of(value),
                moment,
                moment,
                body.get("expiry_date"),
            ),
        ).fetchone()
        shown = _access_token(call, db, row)
    return Reply(status=201, json={**shown, "value": value})


def list_access_tokens(call: Call) -> Reply:
    """GET auth/access_tokens: the tokens of the user."""
    with call.state.database.read() as db:
        rows = db.execute(
            "SELECT * FROM access_token WHERE user_id = ? ORDER BY id DESC", (call.user.id,)
        ).fetchall()
        return lists.page(call, rows, lambda row: _access_token(call, db, row))


def current_access_token(call: Call) -> Reply:
    """GET auth/access_tokens/self: the token of this request."""
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM access_token WHERE id = ?", (call.user.access_token_id,)).fetchone()
        if row is None:
            raise not_found("AccessToken")
        return Reply(json=_access_token(call, db, row))


def revoke_access_token(call: Call) -> Reply:
    """DELETE auth/access_tokens/ID."""
    with call.state.database.write() as db:
        deleted = db.execute(
            "DELETE FROM access_token WHERE id = ? AND user_id = ?", (call.path_id(), call.user.id)
        )
        if not deleted.rowcount:
            raise not_found("AccessToken")
    return NO_CONTENT


def _access_token(call: Call, db: Connection, row: Row) -> Json:
    return {
        "id": row["id"],
        "name": row["name"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "expiry_date": row["expiry_date"],
        "last_used_date": row["last_used_date"],
        "read_only": bool(row["read_only"]),
        "owner": basic_user(call, db, row["user_id"]),
    }
