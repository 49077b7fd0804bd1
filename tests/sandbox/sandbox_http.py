"""Requests to a sandbox without the SDK."""

import json
from typing import Any

import urllib3

from prefect_cvat.sandbox import Sandbox


class Http:
    """Requests as the administrator, by Basic, unless headers say otherwise."""

    def __init__(self, server: Sandbox) -> None:
        self.server = server
        self._pool = urllib3.PoolManager(retries=False)
        self._basic = urllib3.make_headers(basic_auth=f"{server.user}:{server.password}")

    def send(
        self, method: str, path: str, body: Any = None, *, anonymous: bool = False, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        sent = {} if anonymous else dict(self._basic)
        if body is not None:
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-").lower(): value for name, value in headers.items()}
        return self._pool.request(
            method, self.server.url + path, body=None if body is None else json.dumps(body), headers=sent
        )

    def json(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        response = self.send(method, path, body, **headers)
        assert response.status == status, response.data
        return json.loads(response.data)
