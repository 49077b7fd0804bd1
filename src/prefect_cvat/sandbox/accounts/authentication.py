"""Authentication as in CVAT: tokens, personal access tokens, Basic and session cookies."""

import base64
import binascii
import hmac
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts.hashing import check_password, digest_of
from prefect_cvat.sandbox.api.account import Account
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import ApiError
from prefect_cvat.sandbox.storage.database import Connection, Database, Row

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def authenticate(call: Call) -> Account | None:
    """Authenticate a request.

    Returns:
        The account, or None if the request has no credentials or an expired session.

    Raises:
        ApiError: 401 for wrong credentials, 403 if a session lacks its CSRF token or has a foreign origin.
    """
    scheme, _, value = call.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "token":
            return _by_token(call, value.strip())
        case "bearer":
            return _by_access_token(call, value.strip())
        case "basic":
            return _by_password(call, value.strip())
    return _by_cookie(call)


def has_expiring_credentials(headers: Headers) -> bool:
    """Whether the credentials of a request can expire: a token, a personal access token or a session."""
    scheme = headers.get("authorization", "").partition(" ")[0].lower()
    return scheme in ("token", "bearer") if scheme else _session_key(headers) is not None


def expire_token(database: Database, headers: Headers) -> None:
    """Delete the token, personal access token or session of a request.

    As in a logout, the user's token is deleted with a session.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    with database.write() as db:
        match scheme.lower():
            case "token":
                db.execute("UPDATE user SET token = NULL WHERE token = ?", (value,))
            case "bearer":
                db.execute("DELETE FROM access_token WHERE digest = ?", (digest_of(value),))
            case "":
                key = _session_key(headers)
                db.execute(
                    "UPDATE user SET token = NULL WHERE id = (SELECT user_id FROM session WHERE key = ?)",
                    (key,),
                )
                db.execute("DELETE FROM session WHERE key = ?", (key,))


def find_by_password(db: Connection, name: str, password: str, *, column: str = "username") -> Row | None:
    """The user with this name (or email address) and password, or None."""
    statement = {
        "username": "SELECT * FROM user WHERE username = ?",
        "email": "SELECT * FROM user WHERE email = ?",
    }[column]
    row: Row | None = db.execute(statement, (name,)).fetchone()
    return row if row is not None and check_password(password, row["password"]) else None


def account_of(row: Row, *, session: str | None = None) -> Account:
    """The account of a row of the user table."""
    return Account(
        id=row["id"], username=row["username"], is_superuser=bool(row["is_superuser"]), session=session
    )


def _invalid(detail: str) -> ApiError:
    return ApiError(401, {"detail": detail})


def _by_token(call: Call, token: str) -> Account:
    with call.state.database.read() as db:
        row = db.execute("SELECT * FROM user WHERE token = ?", (token,)).fetchone()
    if row is None:
        raise _invalid("Invalid token.")
    return account_of(row)


def _by_access_token(call: Call, value: str) -> Account:
    with call.state.database.write() as db:
        row = db.execute(
            "SELECT user.*, access_token.id AS token_id, read_only, expiry_date"
            " FROM access_token JOIN user ON user.id = user_id WHERE digest = ?",
            (digest_of(value),),
        ).fetchone()
        moment = timestamps.now()
        if row is None or (row["expiry_date"] and row["expiry_date"] < moment):
            raise _invalid("Invalid token.")
        db.execute("UPDATE access_token SET last_used_date = ? WHERE id = ?", (moment, row["token_id"]))
    return Account(
        id=row["id"],
        username=row["username"],
        is_superuser=bool(row["is_superuser"]),
        read_only=bool(row["read_only"]),
        access_token_id=row["token_id"],
    )


def _by_password(call: Call, value: str) -> Account:
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _invalid("Invalid basic header. Credentials not correctly base64 encoded.") from None
    with call.state.database.read() as db:
        row = find_by_password(db, name, password)
    if row is None:
        raise _invalid("Invalid username/password.")
    return account_of(row)


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _session_key(headers: Headers) -> str | None:
    return _cookies(headers).get("sessionid") or None


def _by_cookie(call: Call) -> Account | None:
    cookies = _cookies(call.headers)
    key = cookies.get("sessionid")
    if not key:
        return None
    with call.state.database.read() as db:
        row = db.execute(
            "SELECT user.* FROM session JOIN user ON user.id = user_id WHERE key = ? AND expires > ?",
            (key, timestamps.now()),
        ).fetchone()
    if row is None:
        return None
    if call.method not in SAFE_METHODS:
        _check_csrf(call, cookies.get("csrftoken"))
    return account_of(row, session=key)


def _check_csrf(call: Call, cookie: str | None) -> None:
    origin = call.headers.get("origin")
    header = call.headers.get("x-csrftoken")
    if origin is not None and origin != call.base_url:
        reason = f"Origin checking failed - {origin} does not match any trusted origins."
    elif not cookie:
        reason = "CSRF cookie not set."
    elif not header:
        reason = "CSRF token missing."
    elif not hmac.compare_digest(cookie, header):
        reason = "CSRF token from the 'X-Csrftoken' HTTP header incorrect."
    else:
        return
    raise ApiError(403, {"detail": f"CSRF Failed: {reason}"})
