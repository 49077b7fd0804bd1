"""A sandbox with a gateway, and tasks like those of the recorded calls."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_cvat import Client
from prefect_cvat.sandbox import Sandbox
from sandbox.functions.stand_in_gateway import StandInGateway, stand_in_gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[StandInGateway]:
    with stand_in_gateway() as running:
        yield running


@pytest.fixture(scope="module")
def server(gateway: StandInGateway) -> Iterator[Sandbox]:
    with Sandbox(nuclio=gateway.settings) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Sandbox) -> Iterator[Client]:
    with Client(server.url) as client:
        client.login((server.user, server.password))
        yield client


@pytest.fixture
def ended(http: Any) -> Callable[..., dict[str, Any]]:
    """Wait until a batch has ended; return what the API shows of it."""

    def ended(batch: dict[str, Any], *, seconds: float = 60) -> dict[str, Any]:
        path = "/api/lambda/requests/" + batch["id"].replace("=", "%3D").replace("&", "%26")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            shown: dict[str, Any] = http.json("GET", path)
            if shown["status"] in ("finished", "failed"):
                return shown
            time.sleep(0.02)
        pytest.fail(f"the batch has not ended: {shown}")

    return ended
