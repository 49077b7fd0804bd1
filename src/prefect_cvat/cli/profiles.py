"""Profiles: servers of CVAT with their logins, in a file of the user."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, ValidationError, model_validator

from prefect_cvat.cvat.server_login import ServerLogin
from prefect_cvat.settings import Settings

__all__ = ["DEFAULT", "Profile", "read_default_profile", "read_profile"]

DEFAULT = "default"
"""The profile that is used where no profile and no server is given."""


class Profile(ServerLogin):
    """A server and, if they are stored there, the credentials."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _check_login(self) -> Profile:
        if self.access_token and (self.username or self.password):
            raise ValueError("it has an access_token and a username or password; remove one of the two")
        return self


def read_profile(name: str) -> Profile:
    """Read a profile.

    Raises:
        ValueError: There is no such profile, or it cannot be read.
    """
    path = Settings().profiles_file
    profiles = _read_file(path)
    if name not in profiles:
        if not profiles:
            raise ValueError(f"there is no profile {name!r}: {path} does not exist, or is empty")
        similar = get_close_matches(name, profiles, 1)
        raise ValueError(
            f"there is no profile {name!r} in {path}; "
            + (f"did you mean {similar[0]!r}?" if similar else f"there are {', '.join(map(repr, profiles))}")
        )
    return _parse(name, profiles[name], path)


def read_default_profile() -> Profile | None:
    """Read the profile `default`, if there is one.

    Raises:
        ValueError: It cannot be read.
    """
    path = Settings().profiles_file
    profiles = _read_file(path)
    return _parse(DEFAULT, profiles[DEFAULT], path) if DEFAULT in profiles else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"the profiles in {path} cannot be read: {error}") from None


def _parse(name: str, values: Any, path: Path) -> Profile:
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        # without the input, which may be a password
        problems = "; ".join(
            ": ".join([*map(str, problem["loc"]), problem["msg"].removeprefix("Value error, ")])
            for problem in error.errors(include_input=False, include_url=False)
        )
        fields = ", ".join(Profile.model_fields)
        raise ValueError(f"profile {name!r} in {path}: {problems} (its fields are {fields})") from None
    if (profile.access_token or profile.password) and path.stat().st_mode & 0o077:
        raise ValueError(
            f"other users of this machine may read {path}, which holds a secret: `chmod 600 {path}`"
        )
    return profile
