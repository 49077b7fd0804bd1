"""How often, and how soon, Prefect's client sends a request again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

__all__ = ["ask_busy_server_again_soon", "client_retries"]

BUSY_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""How long, at least, a request waits each time before it is sent to a busy server again. These attempts do
not count."""

OUTAGE_SECONDS = (2.0, 4.0, 8.0, 16.0, 32.0)
"""How long it waits after that, as Prefect's client does by itself: a database may be away for a minute."""

_AS_USUAL = ("/renew", "/csrf-token")
"""The renewal of a lease, and what it may need before: they have to end in time."""


@contextmanager
def client_retries(number: int) -> Iterator[None]:
    """Let clients of Prefect that are made inside send a request again so often.

    Prefect's `temporary_settings` does the same, but reads all settings anew each time, which takes 50 ms.

    Args:
        number: The maximum number of times; if the client asks a busy server again soon, after that. 0 sends
            it once.
    """
    now = get_settings_context()
    client = now.settings.client.model_copy(update={"max_retries": number})
    settings = now.settings.model_copy(update={"client": client})
    with SettingsContext(profile=now.profile, settings=settings):
        yield


def ask_busy_server_again_soon(client: SyncPrefectClient) -> None:
    """Let a client send a request again soon if the Prefect server answers that SQLite is busy (503).

    Writes of two runs that meet are enough for that. Prefect's client would wait two seconds, then four. It
    waits as long as `Retry-After` says, and does not count an attempt that is answered with
    `Prefect-Maintenance`; the server sends neither.

    Args:
        client: The client of the flow run; that of all its threads.
    """
    hooks = client._client.event_hooks
    if _retry_soon not in hooks["response"]:
        client._client.event_hooks = {**hooks, "response": [*hooks["response"], _retry_soon]}


def _retry_soon(response: httpx.Response) -> None:
    is_busy = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
    request = response.request
    if not is_busy or "Retry-After" in response.headers or request.url.path.endswith(_AS_USUAL):
        return
    times: int = request.extensions.get("times_busy", 0)
    request.extensions["times_busy"] = times + 1
    waits = () if PREFECT_CLIENT_MAX_RETRIES.value() == 0 else (*BUSY_SECONDS, *OUTAGE_SECONDS)
    if times >= len(waits):
        response.headers["Retry-After"] = "0"  # it is not sent again, but Prefect's client would wait
        return
    seconds = waits[times] + random.uniform(0.0, 0.2)  # noqa: S311 (spreads the requests of runs)
    response.headers["Retry-After"] = f"{seconds:.3f}"
    if times < len(BUSY_SECONDS):
        response.headers["Prefect-Maintenance"] = "true"
