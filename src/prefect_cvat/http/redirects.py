"""Redirects are not followed: CVAT 2.73 sends none on the routes that are used here.

Following one would send the organization, and credentials from `.netrc`, to another host; and while reads
would be redirected, writes would fail. The error names the address to use instead.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import requests

from prefect_cvat.exceptions import RedirectError
from prefect_cvat.http.server_url import normalize_url

__all__ = ["DirectSession", "redirect_error", "redirected_server"]


MAX_LOCATION = 300
"""Maximum length of a `Location` that is parsed."""


class DirectSession(requests.Session):
    """A session that ignores redirects.

    With `allow_redirects=False`, requests still reads the whole body, and `.netrc` for the other host.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 (requests has it)
        """Return None, as if there were no redirect."""
        return None


def redirect_error(response: requests.Response, method: str, server: str, path: str) -> RedirectError:
    """Make an exception for a redirect.

    Args:
        response: A response with a status from 300 to 399.
        method: The method of the request.
        server: The address of the server.
        path: The requested path.
    """
    address = redirected_server(response, server, path)
    location = response.headers.get("Location")
    if address is None:
        where = "nowhere" if location is None else ascii(location[:MAX_LOCATION])
        problem = f"{method} {server}{path} is redirected to {where}, which CVAT itself never does"
    elif address == server:
        problem = f"{server} redirects to itself; the proxy in front of CVAT is set up wrongly"
    elif server.startswith("https:") and address.startswith("http:"):
        problem = f"{server} redirects to {address}, where nothing is encrypted; have that changed"
    else:
        problem = (
            f"{server} redirects to {address}; if that is your server, give that address (url, --server-host)"
        )
    return RedirectError(
        f"{problem} (HTTP {response.status_code}; redirects are not followed: credentials would go along)",
        status=response.status_code,
        method=method,
        path=path,
    )


def redirected_server(response: requests.Response, server: str, path: str) -> str | None:
    """The address of the server to which the same path is redirected; None for other responses."""
    location = response.headers.get("Location")
    if location is None or len(location) > MAX_LOCATION or not response.is_redirect:
        return None
    try:
        target = urlsplit(urljoin(f"{server}{path}", location))
        address = f"{target.scheme}://{target.netloc}{target.path.rstrip('/')}"
        return normalize_url(address.removesuffix(path)) if address.endswith(path) else None
    except ValueError:  # not an address, or not one of a web server
        return None
