"""Logging in and out, registration, personal access tokens, users, and what the server says about itself."""

import secrets
from collections.abc import Mapping
from datetime import timedelta

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts.authentication import (
    Account,
    account_of,
    digest_of,
    find_by_password,
    hash_password,
)
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import NO_CONTENT, ApiError, Call, Json, Reply, bad_request, not_found
from prefect_cvat.sandbox.storage.database import Connection, Row

CVAT_VERSION = "2.73.0"


def about(call: Call) -> Reply:
    """GET server/about: the version of CVAT that the sandbox follows."""
    return Reply(
        json={
            "name": "prefect-cvat sandbox (not CVAT)",
            "description": "An embedded server that speaks CVAT's API, for tries and tests. It is not CVAT.",
            "version": CVAT_VERSION,
            "logo_url": f"{call.base_url}/static/logo.svg",
            "subtitle": "Sandbox",
        }
    )


def login(call: Call) -> Reply:
    """POST auth/login: the user's one token, and a cookie session."""
    body = call.json_object()
    column = "username" if body.get("username") else "email"
    name, password = body.get(column), body.get("password")
    if not name or not password:
        raise bad_request(['Must include either "username" or "email" and "password".'])
    with call.state.database.write() as db:
        row = find_by_password(db, str(name), str(password), column=column)
        if row is None:
            raise bad_request({"non_field_errors": ["Unable to log in with provided credentials."]})
        cookies, token = _open_session(db, account_of(row))
    return Reply(json={"key": token}, cookies=cookies)


def logout(call: Call) -> Reply:
    """POST auth/logout: ends the session and, as CVAT does, the user's token for everybody who uses it."""
    with call.state.database.write() as db:
        db.execute("UPDATE user SET token = NULL WHERE id = ?", (call.user.id,))
        db.execute("DELETE FROM session WHERE key = ?", (call.user.session,))
    gone = "expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax"
    return Reply(
        json={"detail": "Successfully logged out."}, cookies=(f"sessionid=; {gone}", f"sessionfresh=; {gone}")
    )


def register(call: Call) -> Reply:
    """POST auth/register: a new user, logged in."""
    body = call.json_object()
    errors: Json = {
        name: ["This field is required."]
        for name in ("username", "password1", "password2")
        if not body.get(name)
    }
    if not errors and body["password1"] != body["password2"]:
        errors = {"non_field_errors": ["The two password fields didn't match."]}
    if errors:
        raise bad_request(errors)
    with call.state.database.write() as db:
        if db.execute("SELECT 1 FROM user WHERE username = ?", (body["username"],)).fetchone():
            raise bad_request({"username": ["A user with that username already exists."]})
        row = add_user(
            db,
            str(body["username"]),
            str(body["password1"]),
            profile={key: str(body.get(key) or "") for key in ("email", "first_name", "last_name")},
        )
        cookies, token = _open_session(db, account_of(row))
    shown = {key: row[key] for key in ("username", "email", "first_name", "last_name")}
    return Reply(
        status=201, json={**shown, "email_verification_required": False, "key": token}, cookies=cookies
    )


def add_user(
    db: Connection, username: str, password: str, *, profile: Mapping[str, str], superuser: bool = False
) -> Row:
    """Adds a user and returns the row."""
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


def ensure_administrator(db: Connection, username: str, password: str) -> None:
    """Sees that there is a user with all rights who has this name and this password."""
    row = db.execute("SELECT id FROM user WHERE username = ?", (username,)).fetchone()
    if row is None:
        add_user(db, username, password, profile={"email": f"{username}@localhost"}, superuser=True)
    else:
        db.execute(
            "UPDATE user SET password = ?, is_superuser = 1 WHERE id = ?",
            (hash_password(password), row["id"]),
        )


def create_access_token(call: Call) -> Reply:
    """POST auth/access_tokens: the only answer that shows the token's value."""
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
    """GET auth/access_tokens: those of the user."""
    with call.state.database.read() as db:
        rows = db.execute(
            "SELECT * FROM access_token WHERE user_id = ? ORDER BY id DESC", (call.user.id,)
        ).fetchall()
        return lists.page(call, rows, lambda row: _access_token(call, db, row))


def current_access_token(call: Call) -> Reply:
    """GET auth/access_tokens/self: the token that the request came with."""
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM access_token WHERE id = ?", (call.user.access_token_id,)).fetchone()
        if row is None:
            raise not_found("AccessToken")
        return Reply(json=_access_token(call, db, row))


def revoke_access_token(call: Call) -> Reply:
    """DELETE auth/access_tokens/ID."""
    with call.state.database.write() as db:
        gone = db.execute(
            "DELETE FROM access_token WHERE id = ? AND user_id = ?", (call.path_id(), call.user.id)
        )
        if not gone.rowcount:
            raise not_found("AccessToken")
    return NO_CONTENT


def current_user(call: Call) -> Reply:
    """GET users/self."""
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM user WHERE id = ?", (call.user.id,)).fetchone()
    return Reply(json=_user(call, row))


def list_users(call: Call) -> Reply:
    """GET users."""
    with call.state.database.read() as db:
        rows = db.execute("SELECT * FROM user ORDER BY id DESC").fetchall()
    rows = lists.narrowed(
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
    """A user as owners and assignees are shown."""
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


def known_user(db: Connection, user_id: object, field: str) -> int | None:
    """A user id out of a body, or None.

    Raises:
        ApiError: 400 where there is no such user.
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


def _open_session(db: Connection, account: Account) -> tuple[tuple[str, ...], str]:
    token = db.execute(
        "UPDATE user SET last_login = ?, token = coalesce(token, ?) WHERE id = ? RETURNING token",
        (timestamps.now(), secrets.token_hex(20), account.id),
    ).fetchone()["token"]
    session = secrets.token_urlsafe(24)
    lifetime = timedelta(days=14)
    db.execute("INSERT INTO session VALUES (?, ?, ?)", (session, account.id, timestamps.after(lifetime)))
    cookies = (
        f"csrftoken={secrets.token_urlsafe(24)}; Max-Age=31449600; Path=/; SameSite=Lax",
        "sessionfresh=1; HttpOnly; Max-Age=86400; Path=/; SameSite=Lax",
        f"sessionid={session}; HttpOnly; Max-Age={int(lifetime.total_seconds())}; Path=/; SameSite=Lax",
    )
    return cookies, token
