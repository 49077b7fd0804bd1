"""Sending annotations to a job, each once, whatever becomes of the requests."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NoReturn

from prefect_cvat.annotations.request_bodies import Standing, each_annotation
from prefect_cvat.exceptions import ApiError, PrefectCvatError, RunStoppedError, UploadError
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import LabeledData
from prefect_cvat.records.annotation_index import Stored
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.upload.comparison import PendingWrite, Waiting
from prefect_cvat.upload.job_ledger import JobAccount
from prefect_cvat.upload.write_requests import UNKNOWN_FATE, JobRequests, seconds_at_work

__all__ = ["JobSender"]

logger = logging.getLogger(__name__)


class JobSender:
    """Sends annotations to a job, and takes them back; knows of what it has sent whether it has arrived.

    Args:
        job_id: The job.
        requests: The requests to it.
        account: What is known of it.
        record: Where it is written down what is added.
        lock: Is told when a write is under way.
        stopped: Set when the run is to stop: then nothing is waited for any longer.
        attempts: How often a write is tried whose fate is unknown each time.
        late_commit_seconds: How long the server may still be at a write that it has not answered.
        stale_read_seconds: How long reads may be behind writes.

    Attributes:
        added: How many annotations have arrived.
        sure_after: The time (`time.monotonic`) after which nothing can arrive any more of writes of unknown
            fate that have been found: what was found may have been equal annotations of somebody else.
    """

    def __init__(
        self,
        job_id: int,
        requests: JobRequests,
        account: JobAccount,
        record: JobRecord,
        *,
        lock: RunLock | None,
        stopped: threading.Event,
        attempts: int,
        late_commit_seconds: float,
        stale_read_seconds: float,
    ) -> None:
        self.added = 0
        self.sure_after = 0.0
        self._job_id = job_id
        self._requests = requests
        self._account = account
        self._record = record
        self._lock = lock
        self._stopped = stopped
        self._attempts = attempts
        self._late_commit_seconds = late_commit_seconds
        self._stale_read_seconds = stale_read_seconds
        self._last_write = 0.0
        self._pending: list[PendingWrite] = []

    @property
    def unsettled(self) -> int:
        """How many annotations have been sent of which it is not known whether they are there, or will be."""
        return sum(write.identities.total() for write in self._pending)

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until every write of unknown fate has been executed, or never will be."""
        until = max((write.until for write in self._pending), default=0.0)
        return max(0.0, until - time.monotonic())

    @property
    def seen_after(self) -> float:
        """The time (`time.monotonic`) after which reads show all that has been written."""
        return self._last_write + self._stale_read_seconds

    def go_on(self) -> None:
        """Wait for what must be waited for, although the run has been stopped."""
        self._stopped = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunStoppedError: The run is to stop.
        """
        if self._stopped.wait(seconds):
            raise RunStoppedError(f"job {self._job_id}: the run was stopped while it waited for the server")

    def send_all(self, waiting: list[Waiting]) -> None:
        """Send what waits, until nothing waits any longer.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        while waiting:
            self._send(waiting)

    def _send(self, waiting: list[Waiting]) -> None:
        """Send of what waits as much as one request takes; what has arrived waits no longer."""
        for attempt in range(1, self._attempts + 1):
            part = self._requests.first_of(waiting)
            write = self._account.pending_write(part, waiting)
            self._record.sending((digest for digest, _ in part), write.after)
            if self._lock is not None:
                self._lock.sending(self._job_id)
            self._pending.append(write)  # until all that has arrived is noted
            try:
                answer = self._create(part)
            except UNKNOWN_FATE as error:
                delay = self._requests.retry_delay(attempt)
                seconds = seconds_at_work(error, self._late_commit_seconds)
                if seconds is not None:
                    logger.warning(
                        "job %d: %s; looking what is there (attempt %d)", self._job_id, error, attempt
                    )
                    write.until = time.monotonic() + seconds + self._stale_read_seconds
                    if self.settle(delay):
                        return
                if seconds is None:
                    self._pending.remove(write)
                    self._note_settled()
                if attempt == self._attempts:
                    raise
                if seconds is None:
                    self.pause(delay)
            except ApiError as error:  # a refusal: nothing was done
                self._pending.remove(write)
                self._note_settled()
                self._requests.make_smaller(part, error)
            else:
                self._take_answer(write, answer)
                del waiting[: len(part)]
                self._pending.remove(write)
                self._note_settled()
                return

    def _create(self, part: Sequence[Waiting]) -> LabeledData:
        try:
            return self._requests.create(part)
        finally:
            self._last_write = time.monotonic()

    def _take_answer(self, write: PendingWrite, answer: LabeledData) -> None:
        """Note what has arrived, and compare it with what was sent: CVAT may drop things silently."""
        stored = self._account.stored(each_annotation(answer))
        self.note_added(stored)
        arrived = Counter(digest for _, _, digest in stored)
        if arrived != write.identities:
            self._pending.remove(write)
            self._refuse(write, arrived, stored)

    def _refuse(self, write: PendingWrite, arrived: Counter[bytes], stored: Sequence[Stored]) -> NoReturn:
        """Remove what was stored otherwise than it was sent."""
        sent = write.identities.copy()
        message = (
            f"job {self._job_id}: {pluralize(sent.total(), 'annotation was', 'annotations were')} sent,"
            f" the server says that it stored {arrived.total()},"
            f" of which {(arrived & sent).total()} are as they were sent"
        )
        write.identities -= arrived
        self._account.give_up(write)  # it may have stored more than it says
        try:
            self.remove_own(stored)
        except PrefectCvatError as error:
            raise UploadError(f"{message}; removing these again failed: {error}") from error
        raise UploadError(f"{message}; these have been removed again")

    def settle(self, first_delay: float) -> bool:
        """Find out about all writes of unknown fate; return whether the last one has arrived as a whole."""
        has_arrived = True
        while self._pending:
            write = self._pending[0]
            arrived = self._await_arrival(write, first_delay)
            has_arrived = len(arrived) == write.identities.total()
            self.note_added(arrived)
            self._account.take_arrived(arrived, write)
            self.sure_after = max(self.sure_after, write.until)
            if not has_arrived:
                write.identities -= Counter(digest for _, _, digest in arrived)
                self._account.give_up(write)
            del self._pending[0]
        self._note_settled()
        return has_arrived

    def _await_arrival(self, write: PendingWrite, first_delay: float) -> list[Stored]:
        """Look at the job until all of a write is there, or until the server cannot be at it any more."""
        arrived: list[Stored] = []
        for is_last in self._requests.each_change(write.until, first_delay, self.pause):
            try:
                arrived = self._account.find_arrived(self._requests.read(), write)
            except UNKNOWN_FATE:
                if is_last:
                    raise
            if len(arrived) == write.identities.total():
                break
        return arrived

    def note_added(self, added: Sequence[Stored]) -> None:
        """Record what has arrived, and remember its ids."""
        self._record.added(added)
        self._account.note_added(added)
        self.added += len(added)

    def _note_settled(self) -> None:
        """Nothing is under way any more; what was sent has arrived, or never will."""
        if self._lock is not None and not self._pending:
            self._lock.settled(self._job_id)

    def remove_own(self, only: Sequence[Stored] | None = None) -> None:
        """Remove what the run has added and nobody has changed. What is not there is looked for again.

        Args:
            only: Some of it; None for all.
        """
        chosen = None if only is None else {(kind, number): digest for kind, number, digest in only}
        unseen = self._account.added_ids() if chosen is None else set(chosen)

        def pick(standing: Iterator[Standing], most: int) -> Sequence[Standing]:
            is_own = self._account.own()
            picked: list[Standing] = []
            for kind, annotation in standing:
                key = (kind, annotation["id"])
                unseen.discard(key)
                if chosen is None:
                    is_to_go = is_own(kind, annotation)
                else:
                    is_to_go = chosen.get(key) == self._account.identity(annotation)
                if is_to_go and len(picked) < most:
                    picked.append((kind, annotation))
            return picked

        while True:
            is_last = time.monotonic() >= self.seen_after
            for part in self._requests.remove(pick, self.pause):
                self._record.removed((kind, annotation["id"]) for kind, annotation in part)
            if is_last or not unseen:
                return
            self.pause(min(0.5, max(0.0, self.seen_after - time.monotonic())))
