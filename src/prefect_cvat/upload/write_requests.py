"""The requests that write to a job: as large as the way to the server lets through, and looked after."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from prefect_cvat.annotations.request_bodies import Standing, json_size, request_body, request_length
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import (
    ApiError,
    BadRequestError,
    InvalidResponseError,
    JobBusyError,
    ServerError,
    TooManyRequestsError,
    TransportError,
)
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import LabeledData
from prefect_cvat.records.annotation_index import AnnotationIds
from prefect_cvat.records.record_writer import AnnotationId

__all__ = ["UNKNOWN_FATE", "JobRequests", "Pause", "seconds_at_work"]

logger = logging.getLogger(__name__)

UNKNOWN_FATE = (TransportError, ServerError, TooManyRequestsError, InvalidResponseError)
"""The errors after which a write may have been carried out, or may yet be."""

LONGEST_PAUSE = 4.0
"""Seconds between two looks at what may arrive late, at the most."""

BUSY_LOOKS = 10
"""How often a job is read anew because somebody has written to it meanwhile, before it is left alone."""

MOST_AT_ONCE = 10
"""How many times as many as at first one request removes at the most, where reading the job takes longer."""

Named = TypeVar("Named", bound=tuple[object, dict[str, Any]])
"""An annotation after something that it is known by: a tuple of two."""

Pause = Callable[[float], None]
"""Waits for so many seconds; may raise if the run is to stop."""


def seconds_at_work(error: Exception, late_commit_seconds: float) -> float | None:
    """How long the server may still be at a write that has failed for the client, in seconds.

    Args:
        error: What the client got, one of `UNKNOWN_FATE`.
        late_commit_seconds: After how many seconds a server has carried out what it has not answered, or
            never will.

    Returns:
        None if the server has not begun; 0.0 if it has ended, with a result that is not known.
    """
    match error:
        case TooManyRequestsError():
            return None
        case TransportError(was_sent=was_sent):
            return late_commit_seconds if was_sent else None
        case ServerError(status=500) | InvalidResponseError():
            return 0.0  # CVAT itself has answered, though not as one would wish
        case _:
            return late_commit_seconds  # a proxy has answered for it


class JobRequests:
    """Adds annotations to a job and deletes them.

    Args:
        client: The server.
        job_id: The job.
        most_annotations: The most annotations of one request.
        most_bytes: The most bytes of one request. Where a proxy on the way takes fewer, they are halved.
        attempts: How often a deletion is tried if its outcome is unknown each time.
        retry: How long to wait between attempts.
        late_commit_seconds: See `seconds_at_work`.
    """

    def __init__(
        self,
        client: Client,
        job_id: int,
        *,
        most_annotations: int,
        most_bytes: int,
        attempts: int,
        retry: RetryPolicy,
        late_commit_seconds: float,
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._most_annotations = most_annotations
        self._most_bytes = most_bytes
        self._attempts = attempts
        self._retry = retry
        self._late_commit_seconds = late_commit_seconds

    def read(self) -> Iterator[Standing]:
        """All that the job holds, one after the other."""
        return self._client.iter_job_annotations(self._job_id)

    def written_at(self) -> object:
        """What changes with each write to the job; much cheaper than reading it."""
        return self._client.job(self._job_id).updated_date

    def first_of(self, annotations: Sequence[Named]) -> Sequence[Named]:
        """As many of the annotations, from the first on, as one request takes."""
        return annotations[: request_length(annotations, self._most_annotations, self._most_bytes)]

    def create(self, part: Sequence[tuple[object, dict[str, Any]]]) -> LabeledData:
        """Add annotations in one request, once; return them as they are stored."""
        return self._client.create_job_annotations(self._job_id, request_body(part))

    def make_smaller(self, part: Sequence[tuple[object, dict[str, Any]]], error: ApiError) -> None:
        """Where a proxy on the way found a request too large, make the next ones half as large.

        Raises:
            ApiError: That is not what it was refused for, or it cannot be smaller.
        """
        is_too_large = error.status == 413 or (error.status == 400 and error.is_html)
        if not is_too_large or len(part) == 1:
            raise error
        self._most_bytes = sum(json_size(annotation) for _, annotation in part) // 2

    def retry_delay(self, attempt: int) -> float:
        """Seconds to wait after the given attempt (1 is the first)."""
        return self._retry.delay(attempt)

    def each_change(self, until: float, first_delay: float, pause: Pause) -> Iterator[bool]:
        """Wait until somebody writes to the job: yield whenever that may have happened, and at the end.

        Args:
            until: The time (`time.monotonic`) at which to end.
            first_delay: Seconds before the first look, which is always worth reading the job.
            pause: Waits.

        Yields:
            Whether this is the last time. Whoever has found what was waited for stops asking.
        """
        delay = first_delay
        before: object = None
        is_first = True
        while True:
            pause(delay)
            is_last = time.monotonic() >= until
            try:
                now = self.written_at()
            except UNKNOWN_FATE as error:
                if is_last:
                    raise
                logger.info("job %d: %s", self._job_id, error)
                now = before
            if is_last or is_first or now != before:
                yield is_last
            if is_last:
                return
            before, is_first = now, False
            delay = min(max(2 * delay, 0.05), LONGEST_PAUSE, max(until - time.monotonic(), 0.0))

    def remove(
        self, pick: Callable[[Iterator[Standing], int], Sequence[Standing]], pause: Pause
    ) -> Iterator[Sequence[Standing]]:
        """Delete what is picked; the job is read right before each request, so that it is picked as it is.

        Args:
            pick: Picks, of all that the job holds, what is to be deleted, as many as the number says.
            pause: Waits.

        Yields:
            What each request has deleted.

        Raises:
            JobBusyError: Something is left, because somebody keeps writing to the job.
        """
        most = self._most_annotations
        unanswered: dict[AnnotationId, Standing] = {}
        gone = AnnotationIds()
        attempt, busy = 1, 0
        while True:
            before = self.written_at()
            started = time.monotonic()
            still_there: set[AnnotationId] = set()
            picked = pick(self._noting(unanswered, still_there, gone), most)
            seconds = time.monotonic() - started
            if done := [item for key, item in unanswered.items() if key not in still_there]:
                gone.update(_ids(done))
                attempt = 1
                yield done
            unanswered = {}
            if not picked:
                return
            if self.written_at() != before:
                busy += 1
                if busy == BUSY_LOOKS:
                    raise JobBusyError(
                        f"job {self._job_id}: somebody keeps writing to it, so what was to go stays (at least"
                        f" {pluralize(len(picked), 'annotation')}); run it again when nobody works on it"
                    )
                pause(self.retry_delay(busy) / 4)
                continue
            part = picked[: request_length(picked, most, self._most_bytes)]
            started = time.monotonic()
            try:
                self._client.delete_job_annotations(self._job_id, _delete_body(part))
            except BadRequestError as error:
                self.make_smaller(part, error)
            except UNKNOWN_FATE as error:
                if attempt == self._attempts:
                    raise
                unanswered = {(kind, annotation["id"]): (kind, annotation) for kind, annotation in part}
                self._wait_for(error, before, self.retry_delay(attempt), pause)
                attempt += 1
            else:
                attempt, busy = 1, 0
                gone.update(_ids(part))
                yield part
                if len(part) == len(picked) < most:
                    return
                if time.monotonic() - started < seconds:
                    most = min(2 * most, MOST_AT_ONCE * self._most_annotations)

    def _noting(
        self,
        watched: dict[AnnotationId, Standing],
        still_there: set[AnnotationId],
        gone: AnnotationIds,
    ) -> Iterator[Standing]:
        """All that the job holds but for what has been deleted: reads may be behind."""
        for kind, annotation in self.read():
            key = (kind, annotation["id"])
            if key in watched:
                still_there.add(key)
            if key not in gone:
                yield kind, annotation

    def _wait_for(self, error: Exception, before: object, delay: float, pause: Pause) -> None:
        """Wait as long as the server may still be at a deletion, or until it is seen."""
        seconds = seconds_at_work(error, self._late_commit_seconds)
        if not seconds:
            pause(delay)
            return
        for _ in self.each_change(time.monotonic() + seconds, delay, pause):
            if self.written_at() != before:
                return


def _ids(part: Sequence[Standing]) -> Iterator[AnnotationId]:
    return ((kind, annotation["id"]) for kind, annotation in part)


def _delete_body(part: Sequence[Standing]) -> dict[str, list[dict[str, Any]]]:
    body: dict[str, list[dict[str, Any]]] = {"tags": [], "shapes": [], "tracks": []}
    for kind, annotation in part:
        body[kind].append(annotation)
    return body
