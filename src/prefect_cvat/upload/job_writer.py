"""Writing annotations to jobs, each exactly once.

CVAT 2.73 has no idempotency key, no version to compare and no lock, and it carries out a request whose
client has gone. What can be relied on: annotations have ids, the ids of what is new are higher,
and a job can be read back. CVAT executes a request whole or not at all; that it did is still read back at the
end. So:

- Before the first write to a task, all that its jobs hold is remembered (the *baseline*).
- An annotation that is in the baseline, equal and of source `auto`, is not written again. This alone
  lets a run that died be completed by running it again, from any machine, without a journal.
- After a write whose fate is unknown (time-out, reset, 502-504), the job is looked at until what was sent
  is there, or until the server cannot be at it any more; only then is it sent again.
- When all is written, each job is read once more. What is missing by then is looked for again, for as long as
  reads may be behind, and then sent again. What is missing after that is reported.
- What is to be replaced, and what an earlier run has doubled, is removed at the end of the run, when all
  replacements are known to be there. On frames that the run leaves out, or failed on, or on which anything is
  missing, nothing is removed; nor is anything that is not in the baseline, or has been changed since.
- What a run removes of what has been added since the baseline has an id that the server gave to the run, or
  has come with a write of unknown fate and is newer than all that was known when that was sent.

What is assumed: that a server has carried out a request `late_commit_seconds` after its client gave it up, or
never does (settings.py). Two runs at a time on a task are kept apart on one machine (run_lock.py) and by
Prefect's limits; where they are not, each leaves the other's work alone and reports what is there twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_cvat.annotations.duplicates import AttributeDefaults
from prefect_cvat.annotations.request_bodies import Standing
from prefect_cvat.cvat.client import Client
from prefect_cvat.http.retry_policy import ATTEMPTS, RetryPolicy
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job
from prefect_cvat.options.existing import Existing
from prefect_cvat.planning.annotated_frames import shown_frames
from prefect_cvat.records.annotation_index import AnnotationIds, Stored
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.settings import Settings
from prefect_cvat.upload.comparison import Comparison
from prefect_cvat.upload.job_ledger import JobAccount
from prefect_cvat.upload.job_sender import JobSender
from prefect_cvat.upload.replacement import Replacement
from prefect_cvat.upload.write_requests import JobRequests

__all__ = ["JobWriter", "job_requests"]

logger = logging.getLogger(__name__)


ROUNDS = 3
"""How often what is missing is sent again."""


def job_requests(client: Client, job_id: int) -> JobRequests:
    """What writes to a job as `JobWriter` does, for who knows by himself what is to be removed."""
    return JobRequests(
        client,
        job_id,
        most_annotations=JobWriter.most_annotations,
        most_bytes=JobWriter.most_bytes,
        attempts=ATTEMPTS,
        retry=RetryPolicy(first_delay=JobWriter.retry_delay, longest_delay=30.0),
        late_commit_seconds=Settings().late_commit_seconds,
    )


class JobWriter:
    """Writes the annotations of one job. May be used from several threads; it writes one thing at a time.

    Args:
        client: The server.
        job: The job.
        folder: Where it keeps what it must remember; to be removed when the run is over.
        existing: What becomes of what the job holds before the run.
        sources: The sources of what is written. What is of another source is never taken for the run's own.
        defaults: The attribute values that the server fills in by itself.
        record: Where it is written down what is added.
        lock: Is told when a write is under way.
        stopped: Set when the run is to stop: then nothing is waited for any longer.
        recognizes_refined: Whether a mask or a track that a machine has made of a detection stands for it.
        deleted_frames: The deleted frames of the task.

    Attributes:
        added: How many annotations of this run the job holds.
        already_there: How many of those that were to be written it held already.
        removed: How many it held before the run and does no longer.
        changed: How many stay that were to be replaced, because somebody has drawn or changed them meanwhile.
        not_replaced: How many stay because what takes their place is missing.
        missing: How many of those that were written it does not hold.
        doubled_by_others: How many others have added to it meanwhile that are equal to some of this run.
    """

    most_annotations = 2000
    """The most annotations of one request: about a second of work for the server."""

    most_bytes = 8 * 2**20
    """The most bytes of one request. Where a proxy on the way takes fewer, they are halved."""

    retry_delay = 1.0
    """Seconds to wait before the second attempt of a write; doubled each time, up to 30."""

    def __init__(
        self,
        client: Client,
        job: Job,
        folder: Path,
        *,
        existing: Existing = Existing.KEEP,
        sources: Collection[str] = ("auto",),
        defaults: AttributeDefaults | None = None,
        record: JobRecord | None = None,
        lock: RunLock | None = None,
        stopped: threading.Event | None = None,
        recognizes_refined: bool = False,
        deleted_frames: Collection[int] = (),
    ) -> None:
        self.job = job
        self.added = 0
        self.already_there = 0
        self.removed = 0
        self.changed = 0
        self.not_replaced = 0
        self.missing = 0
        self.doubled_by_others = 0
        settings = Settings()
        self._requests = job_requests(client, job.id)
        defaults = defaults or {}
        self._existing = existing
        self._account = JobAccount(folder, job.id, sources, defaults, recognizes_refined=recognizes_refined)
        self._replacement = Replacement(existing, defaults, job.stop_frame, deleted_frames)
        self._record = record or JobRecord(job.id)
        self._sender = JobSender(
            job.id,
            self._requests,
            self._account,
            self._record,
            lock=lock,
            stopped=stopped or threading.Event(),
            attempts=ATTEMPTS,
            late_commit_seconds=settings.late_commit_seconds,
            stale_read_seconds=settings.stale_read_seconds,
        )
        self._lock = threading.Lock()
        self._done: set[object] = set()
        self._absent = AnnotationIds()
        self._is_verified = False

    @property
    def unsettled(self) -> int:
        """How many annotations have been sent of which it is not known whether they are there, or will be."""
        return self._sender.unsettled

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until every write of unknown fate has been executed, or never will be."""
        return self._sender.seconds_until_settled

    @property
    def sure_after(self) -> float:
        """The time (`time.monotonic`) after which nothing of this run can arrive any more."""
        return self._sender.sure_after

    def begin(self) -> None:
        """Remember all that the job holds. To be called of all jobs before anything is written to any."""
        with self._lock:
            self._begin()

    def write(self, part: object, annotations: Iterable[dict[str, Any]], frames: Iterable[int] = ()) -> None:
        """Add annotations to the job.

        Args:
            part: Names this part of the work. Calling again with the same part, after an error,
                goes on where it stopped; when it is done, this does nothing.
            annotations: Tags (those without a `type`) and shapes, as the server's JSON objects.
            frames: Frames of which everything is written with this part: what was on these may be replaced.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        with self._lock:
            if part in self._done:
                return
            self._begin()
            self._sender.settle(0.0)
            waiting = self._account.waiting(part, annotations)
            self._is_verified = False
            self._sender.send_all(waiting)
            self._account.done(part)
            self._done.add(part)
            self._replacement.cover(frames)
            self.added, self.already_there = self._sender.added, self._account.reused

    def replace(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Remove these at the end, when what takes their place is there, if nobody has changed them since.

        Args:
            originals: Annotations of the job, as the server told them.
        """
        with self._lock:
            self._replacement.take_originals(originals)

    def make_single(self, doubled: Iterable[Stored]) -> None:
        """Remove these at the end, before all others: equal ones are there that stay.

        Args:
            doubled: Annotations of the job.
        """
        with self._lock:
            self._replacement.take_doubled(doubled)

    def rest(self) -> None:
        """Keep as little in memory as may be: nothing is written to the job for some time."""
        with self._lock:
            self._account.rest()

    def verify(self, *, anew: bool = False) -> None:
        """Read the job once all of it is written, send again what is missing, remove what came twice.

        Args:
            anew: Whether to read it also if it has been read since the last write.
        """
        with self._lock:
            if anew or not self._is_verified:
                self._verify()

    def finish(self) -> None:
        """Verify the job; then remove what was to be replaced."""
        with self._lock:
            for _ in range(ROUNDS):
                if not self._is_verified:
                    self._verify()
                if not self._replacement.is_needed or self._remove_replaced():
                    return
                self._is_verified = False  # something of the run was there, and has gone

    def undo(self) -> None:
        """Remove what this run has added to the job, but for what somebody has changed since."""
        with self._lock:
            self._sender.go_on()  # the run has been stopped; this is to be done all the same
            self._sender.settle(0.0)
            if self._account.may_have_added:
                self._sender.remove_own()
            self.added = 0
            self._record.settled()

    # --- writing ---

    def _read(self) -> Iterator[Standing]:
        return self._requests.read()

    def _begin(self) -> None:
        if not self._account.has_baseline:
            self._account.take_baseline(self._read(), self._existing.removes)

    # --- when all is written ---

    def _verify(self) -> None:
        self._begin()
        self._sender.settle(0.0)
        self._account.rest()
        self._sender.send_all(self._account.sent_again)  # what an attempt before this one could not send
        if not self._account.wants_anything:
            self._is_verified = True
            return
        result = self._look_for_missing()
        for _ in range(ROUNDS):
            if not result.absent:
                break
            missing = pluralize(len(result.absent), "annotation is", "annotations are")
            logger.warning("job %d: %s missing, and sent again", self.job.id, missing)
            self._sender.send_all(self._account.lost(result.absent))
            result = self._look_for_missing()
        self._sender.note_added(result.arrived)
        self._account.exchange(result)
        if result.surplus:
            self._sender.remove_own(result.surplus)
        self.added, self.already_there = result.added, result.already_there
        self.missing = len(result.absent)
        self.doubled_by_others = result.doubled_by_others
        self._absent = AnnotationIds((kind, number) for kind, number, _ in result.absent)
        bodies = self._account.bodies(result.absent)
        last_frame = self.job.stop_frame
        missing_frames = {frame for _, body in bodies for frame in shown_frames(body, last_frame)}
        self._replacement.verified(missing_frames, result.doubled_before)
        if not self.doubled_by_others:  # else it may be what was given up: `undo` looks for that
            self._record.settled()
        self._is_verified = True

    def _look_for_missing(self) -> Comparison:
        """Compare the job with what was written to it, until nothing is missing, or surely is."""
        until, delay = self._sender.seen_after, 0.25
        while True:
            is_last = time.monotonic() >= until
            result = self._account.compare(self._read())
            if not result.unseen or is_last:
                return result
            self._sender.pause(min(delay, max(0.0, until - time.monotonic())))
            delay *= 2

    def _remove_replaced(self) -> bool:
        """Remove what was to be replaced; False if something is not there any more that takes its place."""
        account = self._account
        replaceable, kept = account.replaceable(), account.kept()
        wanted = account.wanted(self._absent)
        is_all_there = True

        def pick(standing: Iterator[Standing], most: int) -> Sequence[Standing]:
            nonlocal is_all_there
            looked = self._replacement.look(standing, most, replaceable=replaceable, kept=kept, wanted=wanted)
            is_all_there = not looked.gone
            self.changed, self.not_replaced = looked.changed, looked.not_replaced
            if is_all_there:
                return looked.to_go
            self.not_replaced += len(looked.to_go)
            return ()

        for part in self._requests.remove(pick, self._sender.pause):
            self.removed += len(part)
            self._record.replaced(len(part))
        if is_all_there:
            self._replacement.clear()
        return is_all_there
