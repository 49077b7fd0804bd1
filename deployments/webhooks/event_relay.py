"""Hands the events that wait in the file of deliveries to the Prefect server, until it has taken each."""

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
from prefect_cvat.deployments.webhooks.deliveries import Deliveries, Delivery
from prefect_cvat.events.cvat_events import FAILED, READY, TaskState, task_failed, task_ready
from prefect_cvat.events.send_events import check_taken, request_body
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    PrefectCvatError,
    StorageError,
    TransportError,
    is_transient,
)
from prefect_cvat.http.retry_policy import RetryPolicy

__all__ = ["CVAT_PATIENCE", "EventRelay"]

logger = logging.getLogger(__name__)

CVAT_PATIENCE = {"timeout": (3.0, 10.0), "retry": RetryPolicy(give_up_after=0.0)}
"""How long CVAT is waited for, as arguments of `Client`: who asks here asks again later by himself."""

LONGEST_WAIT_FOR_CVAT = timedelta(hours=1)
"""After this time an event is emitted with what the webhook says alone."""

REFUSED = (400, 413, 422)
"""Answers of the Prefect server that say that the event is wrong, and not that the time is."""


class EventRelay:
    """Hands events over in the order in which they came.

    An event is done when the Prefect server has taken it. When that is interrupted it is handed over twice
    rather than not at all: it has the same id then.

    Args:
        deliveries: Where events wait.
        credentials: How to ask CVAT for the name and the project of a task that is ready, which the webhook
            does not tell.
        first_delay: Seconds after which it tries again; each further time twice as long.
        longest_delay: Seconds that this grows to.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        credentials: CvatCredentials,
        *,
        first_delay: float = 1.0,
        longest_delay: float = 60.0,
    ) -> None:
        self._deliveries = deliveries
        self._credentials = credentials
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something new. To be called in the loop that it runs in."""
        self._awake.set()

    async def run(self) -> None:
        """Hand over what is there and what comes, for ever."""
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # else it tries for a minute, and is silent
            async with get_client() as prefect:
                delay = self._first_delay
                while True:
                    self._awake.clear()
                    if await self._hand_over_all(prefect):
                        delay = self._first_delay
                        await self._awake.wait()
                    else:
                        logger.warning("trying again in %.0f s", delay)
                        await asyncio.sleep(delay)
                        delay = min(2 * delay, self._longest_delay)

    async def _hand_over_all(self, prefect: PrefectClient) -> bool:
        """Whether all that waited is done."""
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
                        is_all_done &= await self._hand_over(delivery, prefect)
                    except TransportError as error:
                        logger.warning("%s waits for CVAT: %s", _name(delivery.event), error)
                        is_all_done = cvat_answers = False
                await asyncio.to_thread(self._deliveries.prune)
        except (httpx.HTTPError, InvalidResponseError) as error:
            logger.warning(
                "events wait for the Prefect server at %s, which does not take them: %s",
                PREFECT_API_URL.value(),
                str(error) or type(error).__name__,
            )
            return False
        except StorageError as error:
            logger.warning("events wait: %s", error)
            return False
        return is_all_done

    async def _hand_over(self, delivery: Delivery, prefect: PrefectClient) -> bool:
        """Whether the event is done: handed over, or of no use any more. If not, it waits for CVAT.

        Raises:
            TransportError: CVAT does not answer at all now.
            httpx.HTTPError: The Prefect server does not take events now.
            InvalidResponseError: It is no Prefect server that answers.
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
                    "%s goes without the task's name and project: %s", _name(delivery.event), error
                )
        if event is not None:
            await _emit(event, prefect)
        await asyncio.to_thread(self._deliveries.done, delivery)
        return True

    def _complete(self, event: Event) -> Event | None:
        """The event with what CVAT knows of its task; None if the task is gone."""
        task_id = event.payload["task_id"]
        try:
            with self._credentials.get_client(**CVAT_PATIENCE) as client:
                task = TaskState.model_validate(client.json("GET", f"/api/tasks/{task_id}"))
        except NotFoundError:
            logger.info("%s is dropped: the task is gone", _name(event))
            return None
        except ValidationError as error:
            raise InvalidResponseError(f"task {task_id} is not what CVAT sends: {error}") from None
        server = self._credentials.url
        if event.event == FAILED:
            message = event.payload.get("message", "")
            return task_failed(task, server, message, event_id=event.id, occurred=event.occurred)
        return task_ready(task, server, event.occurred)


async def _emit(event: Event, prefect: PrefectClient) -> None:
    try:
        check_taken(await prefect.request("POST", "/events", json=request_body([event])))
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in REFUSED or not error.request.url.path.endswith("/events"):
            raise
        logger.error("%s is lost, because the Prefect server refuses it: %s", _name(event), error)  # noqa: TRY400
    except InvalidResponseError:
        raise
    except ValueError as error:  # where Prefect's client looks for JSON, a proxy may have put a page
        raise InvalidResponseError(f"it does not answer as Prefect would ({error})") from error
    else:
        logger.info("%s has been emitted", _name(event))


def _needs_cvat(event: Event) -> bool:
    """Webhooks of requests tell neither the name nor the project of their task."""
    return event.event in (READY, FAILED)


def _age(event: Event) -> timedelta:
    return datetime.now(UTC) - event.occurred


def _name(event: Event) -> str:
    return f"{event.event} of {event.resource.id}"
