"""The user that a request was authenticated as."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user that one request was authenticated as."""

    id: int
    username: str
    is_superuser: bool
    read_only: bool = False
    access_token_id: int | None = None
    session: str | None = None
