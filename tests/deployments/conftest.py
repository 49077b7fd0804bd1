"""A Prefect server, and a receiver of webhooks before it."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from prefect.events import Event
from pydantic import SecretStr

import prefect_events
from polling import until
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.set_up_server import set_up
from prefect_cvat.deployments.webhooks.receiver import WebhookReceiver
from prefect_cvat.sandbox import Sandbox

SECRET = "correct-horse-battery-staple"

Body = dict[str, Any] | bytes
Sign = Callable[..., str]
Deliver = Callable[..., httpx.Response]
StartReceiver = Callable[..., WebhookReceiver]
EventsOf = Callable[..., list[Event]]


@pytest.fixture
def credentials(sandbox: Sandbox) -> CvatCredentials:
    return CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password))


@pytest.fixture(scope="session")
def work_pool(prefect_server: None, sandbox: Sandbox) -> None:
    """What `prefect-cvat setup` makes before anything is deployed."""
    credentials = CvatCredentials(
        url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)
    )
    credentials.save("main", overwrite=True)  # a page of the documents may have left that of its own sandbox
    list(set_up(credentials))


@pytest.fixture
def start_receiver(credentials, tmp_path) -> Iterator[StartReceiver]:
    """Start receivers with deliveries in the test's folder; stop them at the end."""
    started = []

    def start(**options: Any) -> WebhookReceiver:
        options = {"credentials": credentials, "secret": SecretStr(SECRET), "folder": tmp_path, **options}
        receiver = WebhookReceiver(**options)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        if not receiver.ended.is_set():
            receiver.stop()


@pytest.fixture
def receiver(prefect_server, start_receiver) -> WebhookReceiver:
    return start_receiver()


@pytest.fixture
def secret() -> SecretStr:
    return SecretStr(SECRET)


@pytest.fixture
def sign() -> Sign:
    """The signature header that CVAT sends for a body."""

    def signature(content: bytes, secret: str = SECRET) -> str:
        return f"sha256={hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()}"

    return signature


@pytest.fixture
def deliver(request, sign) -> Deliver:
    """Send what CVAT would send, signed, to the test's receiver or to another one."""

    def send(
        body: Body,
        *,
        to: WebhookReceiver | None = None,
        secret: str = SECRET,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        to = to or request.getfixturevalue("receiver")
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"X-Signature-256": sign(content, secret)} if headers is None else headers
        return httpx.post(
            f"{to.url}/webhooks",
            content=content,
            headers={"Content-Type": "application/json", **headers},
            timeout=15,
        )

    return send


@pytest.fixture
def events_of(prefect_server) -> EventsOf:
    """Wait for a number of events of a resource on the Prefect server, and return them."""
    return prefect_events.events_of


@pytest.fixture
def emitted() -> Callable[[WebhookReceiver], None]:
    """Wait until a receiver has no pending events."""

    def wait(receiver: WebhookReceiver) -> None:
        until(lambda: not httpx.get(f"{receiver.url}/health").json()["pending"], every=0.05)

    return wait
