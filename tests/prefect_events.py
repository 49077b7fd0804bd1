"""The events of the Prefect server."""

import time

from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.filters import EventAnyResourceFilter, EventFilter


def events_of(resource_id: str, count: int, *, seconds: float = 20.0) -> list[Event]:
    """Wait for a number of events of a resource; return those that are there then, or when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        # a new filter each time: it ends at the current time
        wanted = EventFilter(any_resource=EventAnyResourceFilter(id=[resource_id]))
        with get_client(sync_client=True) as prefect:
            found = prefect.read_events(wanted, limit=50).events
        if len(found) >= count or time.monotonic() > deadline:
            return sorted(found, key=lambda event: event.occurred)
        time.sleep(0.2)
