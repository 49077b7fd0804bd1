"""How often Prefect's client sends a request again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import SettingsContext, get_settings_context

__all__ = ["client_retries"]


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
