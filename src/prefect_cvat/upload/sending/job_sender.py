"""Sends annotations to a job, each exactly once, even if the outcome of a request is unknown."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from prefect_cvat.annotations.request_bodies import ServerAnnotation, each_annotation
from prefect_cvat.exceptions import ApiError, PrefectCvatError, RunStoppedError, UploadError
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import LabeledData
from prefect_cvat.records.annotation_index import StoredAnnotation
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.upload.annotation_files import NewAnnotation
from prefect_cvat.upload.job_ledger import JobLedger
from prefect_cvat.upload.sending.job_requests import UNKNOWN_OUTCOME, JobRequests, seconds_until_certain
from prefect_cvat.upload.sending.unknown_outcomes import PendingRequest

__all__ = ["JobSender"]

logger = logging.getLogger(__name__)


class JobSender:
    """Sends annotations to a job, and removes them; finds out the outcome of each request.

    Args:
        job_id: The id of the job.
        requests: The requests to the job.
        ledger: The known annotations of the job.
        record: The record of what the run adds to the job.
        lock: The lock of the task; it records which jobs have a request in progress.
        stopped: Set to stop the run, which then no longer waits for anything.
        attempts: Maximum number of consecutive attempts of unknown outcome for a request.
        late_commit_seconds: How long the server may still be executing an unanswered request.
        stale_read_seconds: How far reads may be behind writes.

    Attributes:
        added: The number of annotations that the server has stored.
        last_write: The time (`time.monotonic`) after the last request to add annotations; 0 before the first.
        settled_at: The time (`time.monotonic`) by which the server has executed all requests of unknown
            outcome or never will, even those whose annotations were found: somebody else may have added
            equal ones.
    """

    def __init__(
        self,
        job_id: int,
        requests: JobRequests,
        ledger: JobLedger,
        record: JobRecord,
        *,
        lock: RunLock | None,
        stopped: threading.Event,
        attempts: int,
        late_commit_seconds: float,
        stale_read_seconds: float,
    ) -> None:
        self.added = 0
        self.last_write = 0.0
        self.settled_at = 0.0
        self._job_id = job_id
        self._requests = requests
        self._ledger = ledger
        self._record = record
        self._lock = lock
        self._stopped = stopped
        self._attempts = attempts
        self._late_commit_seconds = late_commit_seconds
        self._stale_read_seconds = stale_read_seconds
        self._pending: list[PendingRequest] = []

    @property
    def unsettled(self) -> int:
        """The number of sent annotations that may or may not be stored."""
        return sum(request.identities.total() for request in self._pending)

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until every request has been executed or never will be."""
        until = max((request.until for request in self._pending), default=0.0)
        return max(0.0, until - time.monotonic())

    @property
    def seen_after(self) -> float:
        """The time (`time.monotonic`) from which reads show all writes."""
        return self.last_write + self._stale_read_seconds

    def continue_after_stop(self) -> None:
        """Wait for the server again, although the run has been stopped."""
        self._stopped = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunStoppedError: The run was stopped.
        """
        if self._stopped.wait(seconds):
            raise RunStoppedError(f"job {self._job_id}: the run was stopped while it waited for the server")

    def send_all(self, unsent: list[NewAnnotation], at_least: int = 1) -> None:
        """Send annotations while there are at least `at_least`; remove the stored ones from the list.

        Raises:
            UploadError: The server stored something other than what was sent.
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        while len(unsent) >= at_least:
            self._send(unsent)

    def _send(self, unsent: list[NewAnnotation]) -> None:
        """Send as many annotations as fit in one request; remove the stored ones from the list."""
        # `RetryPolicy.retrying` does not fit here and in `JobRequests.remove`: it waits, and repeats a call.
        # Here reading the job replaces the wait, and its content determines the next request, if any.
        for attempt in range(1, self._attempts + 1):
            part = self._requests.next_part(unsent)
            request = self.begin(part, unsent)
            try:
                answer = self._create(part)
            except UNKNOWN_OUTCOME as error:
                delay = self._requests.retry_delay(attempt)
                seconds = seconds_until_certain(error, self._late_commit_seconds)
                if seconds is None:
                    self.withdraw(request)
                else:
                    logger.warning(
                        "job %d: %s; reading the job to see what was stored (attempt %d)",
                        self._job_id,
                        error,
                        attempt,
                    )
                    self.note_unknown(request, seconds)
                    if self.settle(delay):
                        return
                if attempt == self._attempts:
                    raise
                if seconds is None:
                    self.pause(delay)
            except ApiError as error:  # a refusal: nothing was executed
                self.withdraw(request)
                self._requests.make_smaller([each.body for each in part], error)
            else:
                self.accept(request, self.note_answer(each_annotation(answer)))
                return

    def _create(self, part: Sequence[NewAnnotation]) -> LabeledData:
        try:
            return self._requests.create(part)
        finally:
            self.last_write = time.monotonic()

    # --- one request, which may include other jobs: `TaskSender` ---

    def begin(self, part: Sequence[NewAnnotation], unsent: list[NewAnnotation]) -> PendingRequest:
        """Note that a request is about to be sent.

        Args:
            part: The annotations of this job in the request: the first ones of `unsent`.
            unsent: The annotations to send.

        Returns:
            The request. It is pending until `withdraw`, `settle` or `accept`.
        """
        request = self._ledger.pending_request(part, unsent)
        self._record.sending_annotations(part, request.newest)
        if self._lock is not None:
            self._lock.sending(self._job_id)
        self._pending.append(request)
        return request

    def withdraw(self, request: PendingRequest) -> None:
        """Note that the server has not executed a request, and never will."""
        self._pending.remove(request)
        self._note_settled()

    def note_unknown(self, request: PendingRequest, seconds: float) -> None:
        """Note that the outcome of a request is unknown, and how long the server may be executing it."""
        request.until = time.monotonic() + seconds + self._stale_read_seconds

    def note_answer(self, answer: Iterable[ServerAnnotation]) -> list[StoredAnnotation]:
        """Note the annotations of the job that the server has returned for a request."""
        stored = self._ledger.stored(answer)
        self.note_added(stored)
        return stored

    def accept(self, request: PendingRequest, stored: Sequence[StoredAnnotation]) -> None:
        """Remove stored annotations from the unsent ones; CVAT may drop annotations without an error.

        Raises:
            UploadError: The server stored something other than what was sent. It has been removed.
        """
        created = Counter(digest for _, _, digest in stored)
        if created != request.identities:
            self._pending.remove(request)
            self._refuse(request, created, stored)
        del request.unsent[: len(stored)]
        self._pending.remove(request)
        self._note_settled()

    def _refuse(
        self, request: PendingRequest, created: Counter[bytes], stored: Sequence[StoredAnnotation]
    ) -> NoReturn:
        """Remove what was stored, since it is not what was sent."""
        sent = request.identities.copy()
        message = (
            f"job {self._job_id}: {pluralize(sent.total(), 'annotation was', 'annotations were')} sent,"
            f" the server reports {created.total()} stored, {(created & sent).total()} of them unchanged"
        )
        request.identities -= created
        self._ledger.abandon(request)  # it may have stored more than it reports
        try:
            self.remove_own(stored)
        except PrefectCvatError as error:
            raise UploadError(f"{message}; they cannot be removed: {error}") from error
        raise UploadError(f"{message}; they have been removed")

    def settle(self, first_delay: float) -> bool:
        """Find out the outcomes of all pending requests; return whether the last one was executed."""
        is_complete = True
        while self._pending:
            request = self._pending[0]
            created = self._await_result(request, first_delay)
            is_complete = len(created) == request.identities.total()
            self.note_added(created)
            self._ledger.note_created(created, request)
            self.settled_at = max(self.settled_at, request.until)
            if not is_complete:
                request.identities -= Counter(digest for _, _, digest in created)
                self._ledger.abandon(request)
            del self._pending[0]
        self._note_settled()
        return is_complete

    def _await_result(self, request: PendingRequest, first_delay: float) -> list[StoredAnnotation]:
        """Read the job until a request is executed, or the server can no longer be executing it."""
        created: list[StoredAnnotation] = []
        for is_last in self._requests.each_change(request.until, first_delay, self.pause):
            try:
                created = self._ledger.find_created(self._requests.read(), request)
            except UNKNOWN_OUTCOME:
                if is_last:
                    raise
            if len(created) == request.identities.total():
                break
        return created

    def note_added(self, added: Sequence[StoredAnnotation]) -> None:
        """Record stored annotations and their ids."""
        self._record.added(added)
        self._ledger.note_added(added)
        self.added += len(added)

    def _note_settled(self) -> None:
        """Tell the lock if no request is in progress."""
        if self._lock is not None and not self._pending:
            self._lock.settled(self._job_id)

    def remove_own(self, only: Sequence[StoredAnnotation] | None = None) -> None:
        """Remove what the run has added and nobody has changed; wait until reads show all of it.

        Args:
            only: The annotations to remove; None for all.

        Raises:
            JobBusyError: Annotations are left, because somebody keeps writing to the job.
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        chosen = None if only is None else {(kind, number): digest for kind, number, digest in only}
        left = self._ledger.added_ids() if chosen is None else set(chosen)

        def pick(on_server: Iterator[ServerAnnotation], max_count: int) -> Sequence[ServerAnnotation]:
            is_own = self._ledger.own_annotations()
            picked: list[ServerAnnotation] = []
            for kind, annotation in on_server:
                key = (kind, annotation["id"])
                if chosen is None:
                    is_to_go = is_own(kind, annotation)
                else:
                    is_to_go = chosen.get(key) == self._ledger.identity(annotation)
                if not is_to_go:
                    left.discard(key)
                elif len(picked) < max_count:
                    picked.append((kind, annotation))
            return picked

        while True:
            is_last = time.monotonic() >= self.seen_after
            for part in self._requests.remove(pick, self.pause):
                self._record.removed(part)
                for key in part:
                    left.discard(key)
            if is_last or not left:
                return
            self.pause(min(0.5, max(0.0, self.seen_after - time.monotonic())))
