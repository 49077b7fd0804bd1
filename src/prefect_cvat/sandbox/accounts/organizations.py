"""Organizations, as far as permissions depend on them."""

import json

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts.users import basic_user
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json, Reply, bad_request, forbidden, not_found
from prefect_cvat.sandbox.storage.database import Connection, Row


def list_organizations(call: Call) -> Reply:
    """GET organizations: those with the user as a member."""
    with call.state.database.read() as db:
        rows = [
            row
            for row in db.execute("SELECT * FROM organization ORDER BY id DESC")
            if _is_visible(call, db, row)
        ]
        rows = lists.filtered(call, rows, ("id", "slug", "name"))
        return lists.page(call, rows, lambda row: _organization(call, db, row))


def create_organization(call: Call) -> Reply:
    """POST organizations: the user becomes the owner."""
    body = call.json_object()
    if not body.get("slug"):
        raise bad_request({"slug": ["This field is required."]})
    moment = timestamps.now()
    with call.state.database.write() as db:
        if db.execute("SELECT 1 FROM organization WHERE slug = ?", (body["slug"],)).fetchone():
            raise bad_request({"slug": ["organization with this slug already exists."]})
        row = db.execute(
            "INSERT INTO organization"
            " (slug, name, description, contact, owner_id, created_date, updated_date)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                str(body["slug"]),
                str(body.get("name") or body["slug"]),
                str(body.get("description") or ""),
                json.dumps(body.get("contact") or {}),
                call.user.id,
                moment,
                moment,
            ),
        ).fetchone()
        db.execute("INSERT INTO membership VALUES (?, ?, 'owner')", (row["id"], call.user.id))
        return Reply(status=201, json=_organization(call, db, row))


def get_organization(call: Call) -> Reply:
    """GET organizations/ID."""
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM organization WHERE id = ?", (call.path_id(),)).fetchone()
        if row is None:
            raise not_found("Organization")
        if not _is_visible(call, db, row):
            raise forbidden()
        return Reply(json=_organization(call, db, row))


def _is_visible(call: Call, db: Connection, row: Row) -> bool:
    member = db.execute(
        "SELECT 1 FROM membership WHERE organization_id = ? AND user_id = ?", (row["id"], call.user.id)
    ).fetchone()
    return call.user.is_superuser or member is not None


def _organization(call: Call, db: Connection, row: Row) -> Json:
    return {
        "id": row["id"],
        "slug": row["slug"],
        "name": row["name"],
        "description": row["description"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "contact": json.loads(row["contact"]),
        "owner": basic_user(call, db, row["owner_id"]),
    }
