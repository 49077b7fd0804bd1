"""The user that a request was authenticated as."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user, as authenticated for one request."""

    id: int
    username: str
    is_superuser: bool
    read_only: bool = False
    access_token_id: int | None = None
    session: str | None = None
