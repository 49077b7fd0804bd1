"""Handing events to the Prefect server so that a failure is noticed.

`prefect.events.emit_event` leaves it to a thread, whose failures only its log shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from httpx import Response
from prefect.client.orchestration import get_client
from prefect.events import Event

from prefect_cvat.exceptions import InvalidResponseError

__all__ = ["check_taken", "emit_events", "request_body"]

EVENTS_A_REQUEST = 50


def request_body(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Events as `POST /events` of Prefect's API takes them."""
    return [event.model_dump(mode="json") for event in events]


def emit_events(events: Sequence[Event]) -> None:
    """Hand events to the Prefect server, in their order.

    Raises:
        httpx.HTTPError: The server did not answer, or refused them.
        InvalidResponseError: It is no Prefect server that answered.
    """
    with get_client(sync_client=True) as prefect:
        for start in range(0, len(events), EVENTS_A_REQUEST):
            body = request_body(events[start : start + EVENTS_A_REQUEST])
            check_taken(prefect.request("POST", "/events", json=body))


def check_taken(response: Response) -> None:
    """Hold the answer to `POST /events` against the one that Prefect gives.

    Raises:
        InvalidResponseError: It is another one, such as the page of a proxy.
    """
    if response.status_code != 204:
        raise InvalidResponseError(
            f"{response.url} answered {response.status_code} where Prefect answers 204;"
            " is PREFECT_API_URL the address of a Prefect server, with /api at its end?"
        )
