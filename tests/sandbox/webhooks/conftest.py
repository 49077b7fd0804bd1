"""A sandbox that retries deliveries soon, and a receiver."""

from collections.abc import Iterator

import pytest

from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_http import Http
from sandbox.webhook_receiver import Receiver
from sandbox.webhooks.webhook_requests import make_project


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox(webhook_retry_seconds=(0.05, 0.1)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def project(http: Http) -> int:
    return make_project(http)
