"""Users."""

from collections.abc import Mapping

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts.hashing import hash_password
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import ApiError, Json, Reply, not_found
from prefect_cvat.sandbox.storage.database import Connection, Row


def add_user(
    db: Connection, username: str, password: str, *, profile: Mapping[str, str], superuser: bool = False
) -> Row:
    """Add a user and return the row."""
    row: Row = db.execute(
        "INSERT INTO user (username, email, first_name, last_name, password, is_superuser, date_joined)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            username,
            profile.get("email", ""),
            profile.get("first_name", ""),
            profile.get("last_name", ""),
            hash_password(password),
            superuser,
            timestamps.now(),
        ),
    ).fetchone()
    return row


def ensure_admin(db: Connection, username: str, password: str) -> None:
    """Create the admin, or set the password of an existing user and make them admin."""
    row = db.execute("SELECT id FROM user WHERE username = ?", (username,)).fetchone()
    if row is None:
        add_user(db, username, password, profile={"email": f"{username}@localhost"}, superuser=True)
    else:
        db.execute(
            "UPDATE user SET password = ?, is_superuser = 1 WHERE id = ?",
            (hash_password(password), row["id"]),
        )


def current_user(call: Call) -> Reply:
    """GET users/self."""
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM user WHERE id = ?", (call.user.id,)).fetchone()
    return Reply(json=_user(call, row))


def list_users(call: Call) -> Reply:
    """GET users."""
    with call.state.database.read() as db:
        rows = db.execute("SELECT * FROM user ORDER BY id DESC").fetchall()
    rows = lists.filtered(
        call, rows, ("id", "username", "first_name", "last_name", "email"), search=("username",)
    )
    return lists.page(call, rows, lambda row: _user(call, row))


def get_user(call: Call) -> Reply:
    """GET users/ID."""
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM user WHERE id = ?", (call.path_id(),)).fetchone()
    if row is None:
        raise not_found("User")
    return Reply(json=_user(call, row))


def basic_user(call: Call, db: Connection, user_id: int | None) -> Json | None:
    """A user in the short form of owners and assignees; None if there is no such user."""
    row = db.execute("SELECT * FROM user WHERE id = ?", (user_id,)).fetchone()
    if row is None:
        return None
    return {
        "url": call.url(f"users/{row['id']}"),
        "id": row["id"],
        "username": row["username"],
        "first_name": row["first_name"],
        "last_name": row["last_name"],
    }


def existing_user_id(db: Connection, user_id: object, field: str) -> int | None:
    """Validate a user id from a request body; None stays None.

    Raises:
        ApiError: 400 if there is no such user.
    """
    if user_id is None:
        return None
    if (
        not isinstance(user_id, int)
        or not db.execute("SELECT 1 FROM user WHERE id = ?", (user_id,)).fetchone()
    ):
        raise ApiError(400, {field: [f'Invalid pk "{user_id}" - object does not exist.']})
    return user_id


def _user(call: Call, row: Row) -> Json:
    superuser = bool(row["is_superuser"])
    return {
        "url": call.url(f"users/{row['id']}"),
        "id": row["id"],
        "username": row["username"],
        "first_name": row["first_name"],
        "last_name": row["last_name"],
        "email": row["email"],
        "groups": ["admin" if superuser else "user"],
        "is_staff": superuser,
        "is_superuser": superuser,
        "is_active": True,
        "last_login": row["last_login"],
        "date_joined": row["date_joined"],
        "has_analytics_access": superuser,
    }
