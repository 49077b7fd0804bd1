"""Sends events to the Prefect server, and raises if it does not accept them.

`prefect.events.emit_event` sends in a thread, and only logs failures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from httpx import Response
from prefect.client.orchestration import get_client
from prefect.events import Event

from prefect_cvat.exceptions import InvalidResponseError

__all__ = ["check_accepted", "emit_events", "request_body"]

EVENTS_PER_REQUEST = 50


def request_body(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The body of `POST /events` of Prefect's API."""
    return [event.model_dump(mode="json") for event in events]


def emit_events(events: Sequence[Event]) -> None:
    """Send events to the Prefect server, in order.

    Raises:
        httpx.HTTPError: The server did not answer, or refused the events.
        InvalidResponseError: The answer is not that of a Prefect server.
    """
    with get_client(sync_client=True) as prefect:
        for start in range(0, len(events), EVENTS_PER_REQUEST):
            body = request_body(events[start : start + EVENTS_PER_REQUEST])
            check_accepted(prefect.request("POST", "/events", json=body))


def check_accepted(response: Response) -> None:
    """Check that the answer to `POST /events` is 204, as Prefect sends it.

    Raises:
        InvalidResponseError: It is another answer, such as a page of a proxy.
    """
    if response.status_code != 204:
        raise InvalidResponseError(
            f"{response.url} answered {response.status_code}, but a Prefect server answers 204; set"
            " PREFECT_API_URL to the URL of a Prefect server, ending in /api"
        )
