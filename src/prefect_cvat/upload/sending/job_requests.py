"""Requests that read a job, add annotations to it and delete them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from prefect_cvat.annotations.request_bodies import (
    SerializedAnnotation,
    ServerAnnotation,
    request_body,
    request_length,
    serialize,
)
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
from prefect_cvat.upload.annotation_files import NewAnnotation

__all__ = ["UNKNOWN_OUTCOME", "JobRequests", "Pause", "Pick", "seconds_until_certain"]

logger = logging.getLogger(__name__)

UNKNOWN_OUTCOME = (TransportError, ServerError, TooManyRequestsError, InvalidResponseError)
"""Errors after which the server may have executed a request, or may still execute it."""

LONGEST_PAUSE = 4.0
"""Maximum seconds between two readings of a job while a request may still be executed."""

BUSY_READS = 10
"""Maximum number of attempts to delete from a job while somebody else writes to it."""

MAX_GROWTH = 10
"""Maximum size of a deletion, relative to the first: it grows while reading the job takes longer."""

Pause = Callable[[float], None]
"""Waits for a number of seconds; may raise to stop the run."""

Pick = Callable[[Iterator[ServerAnnotation], int], Sequence[ServerAnnotation]]
"""Chooses annotations to delete, from all annotations of a job and the maximum number to return."""


def seconds_until_certain(error: Exception, late_commit_seconds: float) -> float | None:
    """How many seconds the server may still be executing a write that failed on the client.

    Args:
        error: The error, one of `UNKNOWN_OUTCOME`.
        late_commit_seconds: Seconds after which a server has executed an unanswered request, or never will.

    Returns:
        Seconds; None if the server has not begun; 0.0 if it has finished, with an unknown result.
    """
    match error:
        case TooManyRequestsError():
            return None
        case TransportError(was_sent=was_sent):
            return late_commit_seconds if was_sent else None
        case ServerError(status=500) | InvalidResponseError():
            return 0.0  # CVAT itself has answered, though with an error
        case _:
            return late_commit_seconds  # a proxy has answered


class JobRequests:
    """Adds annotations to a job and deletes them.

    Args:
        client: The server.
        job_id: The job.
        max_annotations: Maximum number of annotations in a request.
        max_bytes: Maximum size of a request in bytes; halved when a proxy refuses it.
        attempts: Maximum number of consecutive attempts of unknown outcome for a deletion.
        retry: The waits between attempts.
        late_commit_seconds: See `seconds_until_certain`.
    """

    def __init__(
        self,
        client: Client,
        job_id: int,
        *,
        max_annotations: int,
        max_bytes: int,
        attempts: int,
        retry: RetryPolicy,
        late_commit_seconds: float,
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._max_annotations = max_annotations
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._retry = retry
        self._late_commit_seconds = late_commit_seconds

    def read(self) -> Iterator[ServerAnnotation]:
        """All annotations of the job, one by one."""
        return self._client.iter_job_annotations(self._job_id)

    def updated_date(self) -> object:
        """A value that changes with each write to the job; much cheaper than reading it."""
        return self._client.job(self._job_id).updated_date

    def next_part(self, annotations: Sequence[NewAnnotation]) -> Sequence[NewAnnotation]:
        """The annotations of the next request: as many as fit, from the first on."""
        bodies = [annotation.body for annotation in annotations[: self._max_annotations + 1]]
        return annotations[: request_length(bodies, self._max_annotations, self._max_bytes)]

    def create(self, part: Sequence[NewAnnotation]) -> LabeledData:
        """Add annotations in one request, once; return them as they are stored."""
        return self._client.create_job_annotations(self._job_id, request_body(each.body for each in part))

    def make_smaller(self, part: Sequence[SerializedAnnotation], error: ApiError) -> None:
        """Halve the size of the next requests, if a proxy has refused one as too large.

        Raises:
            ApiError: It was refused for another reason, or has only one annotation.
        """
        is_too_large = error.status == 413 or (error.status == 400 and error.is_html)
        if not is_too_large or len(part) == 1:
            raise error
        self._max_bytes = sum(len(annotation.json) for annotation in part) // 2

    def retry_delay(self, attempt: int) -> float:
        """Seconds to wait after an attempt; 1 is the first."""
        return self._retry.delay(attempt)

    def each_change(self, until: float, first_delay: float, pause: Pause) -> Iterator[bool]:
        """Wait for writes to the job; yield after the first delay, after each write, and at the end.

        Args:
            until: The time (`time.monotonic`) of the end.
            first_delay: The first delay in seconds.
            pause: Waits for a number of seconds.

        Yields:
            Whether this is the last time.

        Raises:
            PrefectCvatError: The server refused a request, or did not answer at the end.
        """
        delay = first_delay
        before: object = None
        is_first = True
        while True:
            pause(delay)
            is_last = time.monotonic() >= until
            try:
                now = self.updated_date()
            except UNKNOWN_OUTCOME as error:
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

    def remove(self, pick: Pick, pause: Pause) -> Iterator[Sequence[AnnotationId]]:
        """Delete annotations. Read the job before each request; it must not change in between.

        Args:
            pick: Chooses what to delete.
            pause: Waits for a number of seconds.

        Yields:
            The ids that each request has deleted.

        Raises:
            JobBusyError: Annotations are left, because somebody keeps writing to the job.
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        max_count = self._max_annotations
        unanswered: list[AnnotationId] = []
        gone = AnnotationIds()
        attempt, busy = 1, 0
        while True:
            before = self.updated_date()
            started = time.monotonic()
            still_there: set[AnnotationId] = set()
            picked = pick(self._read_without(gone, set(unanswered), still_there), max_count)
            seconds = time.monotonic() - started
            if done := [key for key in unanswered if key not in still_there]:
                gone.update(done)
                attempt = 1
                yield done
            unanswered = []
            if not picked:
                return
            if self.updated_date() != before:
                busy += 1
                if busy == BUSY_READS:
                    raise JobBusyError(
                        f"job {self._job_id}: somebody keeps writing to it, so at least"
                        f" {pluralize(len(picked), 'annotation')} cannot be deleted; run again when nobody"
                        " works on the job"
                    )
                pause(self.retry_delay(busy) / 4)
                continue
            bodies = [serialize(annotation) for _, annotation in picked]
            bodies = bodies[: request_length(bodies, max_count, self._max_bytes)]
            ids = [(kind, annotation["id"]) for kind, annotation in picked[: len(bodies)]]
            started = time.monotonic()
            try:
                self._client.delete_job_annotations(self._job_id, request_body(bodies))
            except BadRequestError as error:
                self.make_smaller(bodies, error)
            except UNKNOWN_OUTCOME as error:
                if attempt == self._attempts:
                    raise
                unanswered = ids
                self._wait_for(error, before, self.retry_delay(attempt), pause)
                attempt += 1
            else:
                attempt, busy = 1, 0
                gone.update(ids)
                yield ids
                if len(ids) == len(picked) < max_count:
                    return
                if time.monotonic() - started < seconds:
                    max_count = min(2 * max_count, MAX_GROWTH * self._max_annotations)

    def _read_without(
        self, gone: AnnotationIds, unanswered: set[AnnotationId], still_there: set[AnnotationId]
    ) -> Iterator[ServerAnnotation]:
        """All annotations of the job except deleted ones, which reads may still show.

        Adds ids of an unanswered deletion that are still in the job to `still_there`.
        """
        for kind, annotation in self.read():
            key = (kind, annotation["id"])
            if key in unanswered:
                still_there.add(key)
            if key not in gone:
                yield kind, annotation

    def _wait_for(self, error: Exception, before: object, delay: float, pause: Pause) -> None:
        """Wait until a deletion has changed the job, or the server can no longer be executing it."""
        seconds = seconds_until_certain(error, self._late_commit_seconds)
        if not seconds:
            pause(delay)
            return
        for _ in self.each_change(time.monotonic() + seconds, delay, pause):
            if self.updated_date() != before:
                return
