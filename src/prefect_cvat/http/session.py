"""Sessions for requests to CVAT, and the credentials that they send.

Two rules of CVAT 2.73 shape the headers: `Accept: application/json` is refused with 406, and a body sent as
`application/vnd.cvat+json` with 415.
"""

from __future__ import annotations

from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from prefect_cvat.http.redirects import DirectSession
from prefect_cvat.http.slow_responses import MinimumSpeedAdapter

__all__ = ["NoAuth", "TokenAuth", "make_session", "own_version"]


class TokenAuth(AuthBase):
    """Sends a token. As an auth object, it takes precedence over entries of `.netrc`.

    Args:
        scheme: `Token` after a log-in, `Bearer` for a personal access token.
        token: The token.
    """

    def __init__(self, scheme: str, token: SecretStr) -> None:
        self.scheme = scheme
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token."""
        request.headers["Authorization"] = f"{self.scheme} {self._token.get_secret_value()}"
        return request


class NoAuth(AuthBase):
    """Sends no credentials, not even those of `.netrc`."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Change nothing."""
        return request


@cache
def own_version() -> str:
    """The installed version of this library; to read it takes milliseconds."""
    return version("prefect-cvat")


def make_session(organization: str | None) -> requests.Session:
    """Make a session without credentials.

    Args:
        organization: The organization's short name (slug) for `X-Organization`; None for no such header.
    """
    session = DirectSession()
    session.auth = NoAuth()
    session.mount("http://", MinimumSpeedAdapter())
    session.mount("https://", MinimumSpeedAdapter())
    # a session cookie would put every write under CSRF rules; the token needs none
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {
            "User-Agent": f"prefect-cvat/{own_version()}",
            "Accept": "application/vnd.cvat+json",
            "Accept-Encoding": "gzip, deflate",  # no encoding that would be decompressed without limits
        }
    )
    if organization is not None:
        session.headers["X-Organization"] = organization
    return session
