"""Checks that the Prefect server answers and is new enough, and turns its errors into short messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires

import httpx
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from prefect.client.orchestration import get_client
from prefect.deployments.runner import DeploymentApplyError
from prefect.settings import PREFECT_API_URL

from prefect_cvat.exceptions import TransportError

__all__ = ["check_server_version", "prefect_server"]


@contextmanager
def prefect_server() -> Iterator[str]:
    """Check that the Prefect server answers, and translate its errors within the block.

    Yields:
        The URL of its API.

    Raises:
        ValueError: PREFECT_API_URL is not set. Prefect would start a server that ends with this process.
        TransportError: The server does not answer, or refuses a request.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise ValueError(
            "PREFECT_API_URL is not set; start a Prefect server with `prefect server start`, and set its"
            " address with `prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`"
        )
    try:
        with get_client(sync_client=True) as client:
            client.hello().raise_for_status()
        yield url
    except httpx.RequestError as error:
        raise TransportError(
            f"the Prefect server at {url} does not answer ({str(error) or type(error).__name__});"
            " start it with `prefect server start`, or correct PREFECT_API_URL"
        ) from None
    except httpx.HTTPStatusError as error:
        request, status = error.request, error.response.status_code
        raise TransportError(
            f"the Prefect server at {url} has answered {status} to {request.method} {request.url.path}"
            f"{_detail(error)}"
        ) from None
    except DeploymentApplyError as error:
        raise TransportError(f"the Prefect server at {url} has refused a deployment: {error}") from None


def check_server_version() -> Iterator[str]:
    """Warn if the version of the Prefect server is outside the range that prefect-cvat asks for.

    The package `prefect` on this machine is in that range; the server at the other end may be older.

    Yields:
        One line, or none.
    """
    with get_client(sync_client=True) as client:
        version = Version(client.api_version())
    tried = _required_prefect()
    if not tried.contains(version, prereleases=True):
        yield (
            f"the Prefect server at {PREFECT_API_URL.value()} is {version}, prefect-cvat needs"
            f" prefect{tried}: install that on its machine, run `prefect server database upgrade`, and start"
            " it again"
        )


def _required_prefect() -> SpecifierSet:
    """The versions of Prefect that pyproject.toml names."""
    needed = map(Requirement, requires("prefect-cvat") or ())
    return next(each.specifier for each in needed if each.name == "prefect")


def _detail(error: httpx.HTTPStatusError) -> str:
    """The message of the server without the request, which Prefect 3.9 repeats: it may have a password."""
    try:
        answer = error.response.json()
        problems = answer.get("exception_detail")
        if isinstance(problems, list):
            return ": " + "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        return f": {answer['detail']}" if isinstance(answer.get("detail"), str) else ""
    except (ValueError, AttributeError, LookupError, TypeError):
        return ""
