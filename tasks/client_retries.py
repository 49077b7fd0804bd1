"""How often, and how soon, a request to the Prefect server is sent again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx
from prefect.context import SettingsContext, get_settings_context

__all__ = ["again_soon", "client_retries"]

Answer = TypeVar("Answer")

BUSY_DELAYS = (0.05, 0.1, 0.2, 0.4)
"""Seconds to wait, on average, for a busy SQLite. Prefect's client waits for 2, 4 and 8 seconds."""


def again_soon(send: Callable[[], Answer]) -> Answer:
    """Send a request, and send it again soon while the Prefect server answers that SQLite is busy (503).

    After that, and after other errors, Prefect's client sends it again as often as usual.

    Args:
        send: Sends the request; called several times.
    """
    with client_retries(0):
        for delay in BUSY_DELAYS:
            try:
                return send()
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.BAD_GATEWAY):
                    break
                if status != httpx.codes.SERVICE_UNAVAILABLE:
                    raise
            except httpx.TransportError:
                break
            time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 (spreads the requests of runs)
    return send()


@contextmanager
def client_retries(number: int) -> Iterator[None]:
    """Let clients of Prefect that are made inside send a request again so often.

    Prefect's `temporary_settings` does the same, but reads all settings anew each time, which takes 50 ms.

    Args:
        number: The maximum number of times.
    """
    now = get_settings_context()
    client = now.settings.client.model_copy(update={"max_retries": number})
    settings = now.settings.model_copy(update={"client": client})
    with SettingsContext(profile=now.profile, settings=settings):
        yield
