"""Sends annotations to a job, each exactly once, also if the outcome of a request is unknown."""

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
    """Sends annotations to a job, and removes them again; finds out the outcome of each request.

    Args:
        job_id: The id of the job.
        requests: The requests to the job.
        ledger: What is known of the annotations of the job.
        record: The record of what the run adds to the job.
        lock: The lock of the task; it records which jobs have a request in progress.
        stopped: Set when the run is to stop: then it no longer waits for anything.
        attempts: Maximum number of attempts of a request whose outcome is unknown each time.
        late_commit_seconds: How long the server may still be executing a request that it has not answered.
        stale_read_seconds: How long reads may be behind writes.

    Attributes:
        added: The number of annotations that the server has stored.
        last_write: The time (`time.monotonic`) after the last request to add annotations; 0 before the first.
        settled_at: The time (`time.monotonic`) by which the server has executed all requests of unknown
            outcome or never will, also those whose annotations have been found: these may be equal ones of
            somebody else.
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
        """The number of annotations that were sent, and of which it is unknown whether they are stored."""
        return sum(request.identities.total() for request in self._pending)

    @property
    def seconds_until_settled(self) -> float:
        """The time until every request has been executed or never will be, in seconds."""
        until = max((request.until for request in self._pending), default=0.0)
        return max(0.0, until - time.monotonic())

    @property
    def seen_after(self) -> float:
        """The time (`time.monotonic`) from which reads show all that has been written."""
        return self.last_write + self._stale_read_seconds

    def continue_after_stop(self) -> None:
        """Wait for the server again, although the run has been stopped."""
        self._stopped = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunStoppedError: The run is to stop.
        """
        if self._stopped.wait(seconds):
            raise RunStoppedError(f"job {self._job_id}: the run was stopped while it waited for the server")

    def send_all(self, unsent: list[NewAnnotation], at_least: int = 1) -> None:
        """Send annotations, as long as there are so many; what is stored is taken from the list.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        while len(unsent) >= at_least:
            self._send(unsent)

    def _send(self, unsent: list[NewAnnotation]) -> None:
        """Send as many annotations as one request takes; what is stored is taken from the list."""
        # Not `RetryPolicy.retrying`, here and in `JobRequests.remove`: it waits, and repeats a call. Here the
        # job is read in place of the wait, and what it holds determines the next request, if one is needed.
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

    # --- one request, which may be about other jobs, too: `TaskSender` ---

    def begin(self, part: Sequence[NewAnnotation], unsent: list[NewAnnotation]) -> PendingRequest:
        """Note that a request is about to be sent.

        Args:
            part: The annotations of this job in the request: the first of those to send.
            unsent: The annotations to send.

        Returns:
            The request. It is pending until `withdraw`, `settle` or `accept`.
        """
        request = self._ledger.pending_request(part, unsent)
        self._record.sending((each.identity for each in part), request.newest)
        if self._lock is not None:
            self._lock.sending(self._job_id)
        self._pending.append(request)
        return request

    def withdraw(self, request: PendingRequest) -> None:
        """Note that the server has not executed a request, and never will."""
        self._pending.remove(request)
        self._note_settled()

    def note_unknown(self, request: PendingRequest, seconds: float) -> None:
        """Note that the outcome of a request is unknown, and for how long the server may be executing it."""
        request.until = time.monotonic() + seconds + self._stale_read_seconds

    def note_answer(self, answer: Iterable[ServerAnnotation]) -> list[StoredAnnotation]:
        """Note the annotations of the job that the server has returned for a request."""
        stored = self._ledger.stored(answer)
        self.note_added(stored)
        return stored

    def accept(self, request: PendingRequest, stored: Sequence[StoredAnnotation]) -> None:
        """Take what was stored from what is to be sent; CVAT may leave annotations out without an error.

        Raises:
            UploadError: That is not what was sent. It has been removed.
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
        """Remove what was not stored as it was sent."""
        sent = request.identities.copy()
        message = (
            f"job {self._job_id}: {pluralize(sent.total(), 'annotation was', 'annotations were')} sent,"
            f" the server says that it stored {created.total()},"
            f" of which {(created & sent).total()} are as they were sent"
        )
        request.identities -= created
        self._ledger.abandon(request)  # it may have stored more than it says
        try:
            self.remove_own(stored)
        except PrefectCvatError as error:
            raise UploadError(f"{message}; removing these again failed: {error}") from error
        raise UploadError(f"{message}; these have been removed again")

    def settle(self, first_delay: float) -> bool:
        """Find out the outcome of all pending requests; return whether the last one was executed."""
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
        """Read the job until a request was executed, or until the server can no longer be executing it."""
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
        """Record what was stored, and note its ids."""
        self._record.added(added)
        self._ledger.note_added(added)
        self.added += len(added)

    def _note_settled(self) -> None:
        """Tell the lock that no request is under way, if that is so."""
        if self._lock is not None and not self._pending:
            self._lock.settled(self._job_id)

    def remove_own(self, only: Sequence[StoredAnnotation] | None = None) -> None:
        """Remove what the run has added and nobody has changed. What reads do not show yet is waited for.

        Args:
            only: The annotations to remove; None for all.

        Raises:
            JobBusyError: Something is left, because somebody keeps writing to the job.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        chosen = None if only is None else {(kind, number): digest for kind, number, digest in only}
        unseen = self._ledger.added_ids() if chosen is None else set(chosen)

        def pick(on_server: Iterator[ServerAnnotation], max_count: int) -> Sequence[ServerAnnotation]:
            is_own = self._ledger.own_annotations()
            picked: list[ServerAnnotation] = []
            for kind, annotation in on_server:
                key = (kind, annotation["id"])
                unseen.discard(key)
                if chosen is None:
                    is_to_go = is_own(kind, annotation)
                else:
                    is_to_go = chosen.get(key) == self._ledger.identity(annotation)
                if is_to_go and len(picked) < max_count:
                    picked.append((kind, annotation))
            return picked

        while True:
            is_last = time.monotonic() >= self.seen_after
            for part in self._requests.remove(pick, self.pause):
                self._record.removed(part)
            if is_last or not unseen:
                return
            self.pause(min(0.5, max(0.0, self.seen_after - time.monotonic())))
