"""Sends stored events to the Prefect server, until it has accepted each."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events import Event
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import ValidationError

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.webhooks.webhook_store import Deliveries, Delivery
from prefect_cvat.events.cvat_events import FAILED, READY, TaskState, task_failed, task_ready
from prefect_cvat.events.send_events import check_accepted, request_body
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    PrefectCvatError,
    StorageError,
    TransportError,
    is_transient,
)
from prefect_cvat.http.retry_policy import RetryPolicy

__all__ = ["CVAT_TIMEOUTS", "EventRelay"]

logger = logging.getLogger(__name__)

CVAT_TIMEOUTS = {"timeout": (3.0, 10.0), "retry": RetryPolicy(give_up_after=0.0)}
"""Arguments of `Client` with short timeouts and no retries: the relay tries again later by itself."""

LONGEST_WAIT_FOR_CVAT = timedelta(hours=1)
"""If CVAT has not answered for this time, an event is sent with the fields of the webhook alone."""

REFUSED = (400, 413, 422)
"""Answers of the Prefect server after which it is useless to send the same event again."""


class EventRelay:
    """Sends stored events in the order in which they were received.

    If it is interrupted between sending an event and noting that, the event is sent again with the same id.

    Args:
        deliveries: The stored events.
        credentials: The credentials for CVAT, to read the name and project of a task that is ready: its
            webhook does not have them.
        first_delay: Seconds until the first retry; doubled for each further retry.
        max_delay: The longest delay between two retries, in seconds.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        credentials: CvatCredentials,
        *,
        first_delay: float = 1.0,
        max_delay: float = 60.0,
    ) -> None:
        self._deliveries = deliveries
        self._credentials = credentials
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Note that there is a new event. Call it in the event loop of `run`."""
        self._awake.set()

    async def run(self) -> None:
        """Send all stored events, and new ones as they are stored; never returns."""
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # they are not logged
            async with get_client() as prefect:
                delay = self._first_delay
                while True:
                    self._awake.clear()
                    if await self._send_all(prefect):
                        delay = self._first_delay
                        await self._awake.wait()
                    else:
                        logger.warning("trying again in %.0f s", delay)
                        await asyncio.sleep(delay)
                        delay = min(2 * delay, self._max_delay)

    async def _send_all(self, prefect: PrefectClient) -> bool:
        """Send all waiting events; True if none is left."""
        is_all_done, cvat_answers = True, True
        last = 0
        try:
            while batch := await asyncio.to_thread(self._deliveries.pending, after=last):
                last = batch[-1].number
                for delivery in batch:
                    if not cvat_answers and _needs_cvat(delivery.event):
                        is_all_done = False
                        continue
                    try:
                        is_all_done &= await self._send(delivery, prefect)
                    except TransportError as error:
                        logger.warning("%s waits for CVAT: %s", _name(delivery.event), error)
                        is_all_done = cvat_answers = False
                await asyncio.to_thread(self._deliveries.prune)
        except (httpx.HTTPError, InvalidResponseError) as error:
            logger.warning(
                "events wait, as the Prefect server at %s does not accept them: %s",
                PREFECT_API_URL.value(),
                str(error) or type(error).__name__,
            )
            return False
        except StorageError as error:
            logger.warning("events wait: %s", error)
            return False
        return is_all_done

    async def _send(self, delivery: Delivery, prefect: PrefectClient) -> bool:
        """Send an event, or drop it if its task was deleted; False if it has to wait for CVAT.

        Raises:
            TransportError: CVAT does not answer.
            httpx.HTTPError: The Prefect server does not accept events.
            InvalidResponseError: The answer is not that of a Prefect server.
        """
        event: Event | None = delivery.event
        if _needs_cvat(delivery.event):
            try:
                event = await asyncio.to_thread(self._complete, delivery.event)
            except PrefectCvatError as error:
                if is_transient(error) and _age(delivery.event) < LONGEST_WAIT_FOR_CVAT:
                    if isinstance(error, TransportError):
                        raise
                    logger.warning("%s waits for CVAT: %s", _name(delivery.event), error)
                    return False
                logger.warning(
                    "%s is sent without the name and project of the task: %s", _name(delivery.event), error
                )
        if event is not None:
            await _emit(event, prefect)
        await asyncio.to_thread(self._deliveries.done, delivery)
        return True

    def _complete(self, event: Event) -> Event | None:
        """Add the name and project of the task, read from CVAT; None if the task was deleted."""
        task_id = event.payload["task_id"]
        try:
            with self._credentials.get_client(**CVAT_TIMEOUTS) as client:
                task = TaskState.model_validate(client.json("GET", f"/api/tasks/{task_id}"))
        except NotFoundError:
            logger.info("%s is dropped: the task was deleted", _name(event))
            return None
        except ValidationError as error:
            raise InvalidResponseError(f"the response for task {task_id} is not a task: {error}") from None
        server = self._credentials.url
        if event.event == FAILED:
            message = event.payload.get("message", "")
            return task_failed(task, server, message, event_id=event.id, occurred=event.occurred)
        return task_ready(task, server, event.occurred)


async def _emit(event: Event, prefect: PrefectClient) -> None:
    try:
        check_accepted(await prefect.request("POST", "/events", json=request_body([event])))
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in REFUSED or not error.request.url.path.endswith("/events"):
            raise
        logger.error("%s is dropped: the Prefect server refuses it: %s", _name(event), error)  # noqa: TRY400
    except InvalidResponseError:
        raise
    except ValueError as error:  # not JSON, such as a page of a proxy
        raise InvalidResponseError(f"the answer is not that of a Prefect server ({error})") from error
    else:
        logger.info("%s was sent", _name(event))


def _needs_cvat(event: Event) -> bool:
    """Whether the webhook of an event has no name and project of the task."""
    return event.event in (READY, FAILED)


def _age(event: Event) -> timedelta:
    return datetime.now(UTC) - event.occurred


def _name(event: Event) -> str:
    return f"{event.event} of {event.resource.id}"
