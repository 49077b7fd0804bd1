"""The client of Nuclio's dashboard, or of a gateway in its place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from prefect_cvat.sandbox.api.reply import ApiError, Json, server_error
from prefect_cvat.sandbox.cvat_version import CVAT_VERSION
from prefect_cvat.sandbox.functions.function_record import Function, read_function
from prefect_cvat.sandbox.nuclio import Nuclio

_NO_PROXY = {"http": "", "https": ""}
"""Gateways are on this machine."""


class Gateway:
    """Lists and calls functions, each time over a new connection.

    Its methods raise the exceptions of requests, and those of `read_function`.

    Args:
        settings: Where it is; None if the sandbox has none.

    Raises:
        ApiError: 503 if the sandbox has no gateway.
    """

    def __init__(self, settings: Nuclio | None) -> None:
        if settings is None:
            raise ApiError(503, "This sandbox has no gateway: start it with --nuclio-host 127.0.0.1")
        self._settings = settings

    def records(self) -> Any:
        """The records of all functions."""
        return self._send("GET", f"{self._settings.url}/api/functions", self._headers()).json()

    def function(self, name: str) -> Function:
        """One function."""
        reply = self._send("GET", f"{self._settings.url}/api/functions/{name}", self._headers())
        return read_function(reply.json())

    def invoke(self, function: Function, payload: Json) -> Any:
        """Call a function; return what it answers."""
        if self._settings.invoke_method == "direct":
            return self._send("POST", self._settings.url_of(function.port), {}, payload).json()
        headers = {**self._headers(), "x-nuclio-function-name": function.name, "x-nuclio-path": "/"}
        return self._send("POST", f"{self._settings.url}/api/function_invocations", headers, payload).json()

    def _headers(self) -> dict[str, str]:
        return {
            "x-nuclio-project-name": "cvat",
            "x-nuclio-function-namespace": self._settings.function_namespace.get_secret_value(),
            "x-nuclio-invoke-via": "domain-name",
            "X-Nuclio-Invoke-Timeout": f"{self._settings.default_timeout}s",
        }

    def _send(
        self, method: str, url: str, headers: dict[str, str], payload: Json | None = None
    ) -> requests.Response:
        agent = f"CVAT/{CVAT_VERSION} {requests.utils.default_user_agent()}"
        timeout = self._settings.default_timeout
        reply = requests.request(
            method,
            url,
            headers={"User-Agent": agent, **headers},
            json=payload,
            timeout=timeout,
            proxies=_NO_PROXY,
        )
        reply.raise_for_status()
        return reply


@contextmanager
def errors_of_gateway() -> Iterator[None]:
    """Answer as CVAT does when the gateway fails, or answers something that CVAT does not expect.

    Raises:
        ApiError: With the text of requests, since CVAT drops the body of a response: with the status of the
            gateway, 504 for a timeout, 503 without a connection. 500 for anything else.
    """
    try:
        yield
    except requests.Timeout as error:
        raise ApiError(504, str(error)) from error
    except requests.ConnectionError as error:
        raise ApiError(503, str(error)) from error
    except requests.HTTPError as error:
        raise ApiError(error.response.status_code, str(error)) from error
    except requests.RequestException as error:
        raise ApiError(500, str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise server_error() from error
