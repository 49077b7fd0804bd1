"""Logging in, logging out and registering."""

import secrets
from datetime import timedelta

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts.authentication import account_of, find_by_password
from prefect_cvat.sandbox.accounts.users import add_user
from prefect_cvat.sandbox.api.account import Account
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json, Reply, bad_request
from prefect_cvat.sandbox.storage.database import Connection


def login(call: Call) -> Reply:
    """POST auth/login: returns the user's token, and opens a session."""
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
    """POST auth/logout: ends the session and, as in CVAT, the user's only token."""
    with call.state.database.write() as db:
        db.execute("UPDATE user SET token = NULL WHERE id = ?", (call.user.id,))
        db.execute("DELETE FROM session WHERE key = ?", (call.user.session,))
    expired = "expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax"
    return Reply(
        json={"detail": "Successfully logged out."},
        cookies=(f"sessionid=; {expired}", f"sessionfresh=; {expired}"),
    )


def register(call: Call) -> Reply:
    """POST auth/register: creates a user and logs in."""
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
