"""Writing annotations to jobs, each exactly once.

CVAT 2.73 has no idempotency key, no version to compare and no lock, and it carries out a request whose
client has gone. What can be relied on: a request is carried out whole or not at all, annotations have
ids, and a job can be read back. So:

- Before the first write to a job, the ids of all that stands there are remembered (the *baseline*).
- An annotation that already stands there, equal and of source `auto`, is not written again. This alone
  lets a run that died be completed by running it again, from any machine, without a journal.
- After a write whose fate is unknown (time-out, reset, 5xx), the job is read back, and only what is
  missing is sent.
- When a job is complete it is read once more. Of what this run wants there, equal and of source `auto`,
  as many are left as it wants: a write that was committed after its client gave up shows as a surplus,
  also that of an earlier run that was killed.
- What is to be replaced, and what an earlier run has doubled, is removed at the end of the run, when all
  replacements stand. On frames that the run leaves out, or failed on, nothing is removed.

What is assumed: one run at a time on a task (run_lock.py sees to that on one machine), and that a server has
committed a request `JobWriter.late_commit_seconds` after its client gave it up, or never does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from prefect_cvat.annotation_requests import Standing, each_annotation
from prefect_cvat.client import Client
from prefect_cvat.counted import counted
from prefect_cvat.exceptions import ApiError, PrefectCvatError, UploadError
from prefect_cvat.existing import Existing
from prefect_cvat.identity import AttributeDefaults
from prefect_cvat.job_account import JobAccount, Stored, Waiting
from prefect_cvat.job_requests import UNKNOWN_FATE, JobRequests
from prefect_cvat.models import Job, LabeledData
from prefect_cvat.replacement import Replacement
from prefect_cvat.run_record import JobRecord

__all__ = ["JobWriter"]

logger = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a write is tried whose fate is unknown each time."""


class JobWriter:
    """Writes the annotations of one job. May be used from several threads; it writes one thing at a time.

    Args:
        client: The server.
        job: The job.
        existing: What becomes of what stands there already.
        sources: The sources of what is written. What stands there of other sources is never taken for ours.
        defaults: The attribute values that the server fills in by itself.
        record: Where it is written down what is added.
    """

    most_annotations = 2000
    """The most annotations of one request: about a second of work for the server."""

    most_bytes = 8 * 2**20
    """The most bytes of one request. Where a proxy on the way takes fewer, they are halved."""

    retry_delay = 1.0
    """Seconds to wait before the second attempt of a write; doubled each time, up to 30."""

    late_commit_seconds = 10.0
    """How long a server may still be busy with a write that its client has given up. The last look is taken
    after that."""

    def __init__(
        self,
        client: Client,
        job: Job,
        *,
        existing: Existing = Existing.KEEP,
        sources: Collection[str] = ("auto",),
        defaults: AttributeDefaults | None = None,
        record: JobRecord | None = None,
    ) -> None:
        self.job = job
        self.added = 0
        self.removed = 0
        self._requests = JobRequests(
            client,
            job.id,
            most_annotations=self.most_annotations,
            most_bytes=self.most_bytes,
            attempts=ATTEMPTS,
            retry_delay=self.retry_delay,
        )
        defaults = defaults or {}
        self._account = JobAccount(sources, defaults)
        self._replacement = Replacement(existing, sources, defaults)
        self._record = record or JobRecord(job.id)
        self._lock = threading.Lock()
        self._done: set[object] = set()
        self._is_verified = False
        self._is_fate_unknown = False
        self._last_unknown_fate: float | None = None

    @property
    def already_there(self) -> int:
        """How many annotations were not written because they stood there already."""
        return self._account.already_there

    @property
    def is_unsure(self) -> bool:
        """Whether the server may yet commit something that this run has lost sight of."""
        return self._last_unknown_fate is not None

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until whatever a client has given up must have been committed."""
        if self._last_unknown_fate is None:
            return 0.0
        return max(0.0, self._last_unknown_fate + self.late_commit_seconds - time.monotonic())

    def expect_late_commit(self) -> None:
        """Take a write for lost just now: that of a run before this one, which broke off."""
        self._last_unknown_fate = time.monotonic()

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
            waiting = self._account.waiting(part, annotations)
            if self._is_fate_unknown:
                self._settle()
            while waiting:
                self._send(waiting)
            self._account.done(part)
            self._done.add(part)
            self._replacement.cover(frames)

    def replace(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Remove these at the end, when what takes their place stands, if nobody has changed them since.

        Args:
            originals: Annotations of the job, as the server told them.
        """
        with self._lock:
            self._replacement.take_originals(originals)

    def verify(self) -> None:
        """Read the job once all of it is written; remove what is there twice.

        What was remembered of the writes is then forgotten, unless the fate of one was unknown: its
        server may yet commit it.
        """
        with self._lock:
            if not self._is_verified:
                self._verify()

    def finish(self) -> None:
        """Remove what was to be replaced, and what a server committed after its client had given up."""
        with self._lock:
            if not self._is_verified:
                self._wait_for_late_commits()
                self._verify()
            if self._replacement:
                replaced = self._replacement.pick(self._read())
                self.removed += len(replaced)
                self._remove(replaced)
                self._record.replaced(len(replaced))
                self._replacement.clear()

    def undo(self) -> None:
        """Remove what this run has added to the job, but for what somebody has corrected since."""
        with self._lock:
            if not self._account.may_have_added:
                return
            self._wait_for_late_commits()
            self._remove(self._account.pick_added(self._read()))
            self.added = 0
            self._last_unknown_fate = None
            self._record_settled()

    def remove(self, is_to_go: Callable[[str, Mapping[str, Any]], bool]) -> None:
        """Remove from the job what is picked, once nothing can arrive any more.

        Args:
            is_to_go: Picks, of all that the job holds, by its kind and as the server tells it.
        """
        with self._lock:
            self._wait_for_late_commits()
            self._remove([(kind, item) for kind, item in self._read() if is_to_go(kind, item)])

    # --- writing ---

    def _read(self) -> Iterator[Standing]:
        return self._requests.read()

    def _begin(self) -> None:
        """Before the first write, remember what stands in the job."""
        if not self._account.has_baseline:
            self._record.begin(self._account.take_baseline(self._read()))

    def _send(self, waiting: list[Waiting]) -> None:
        """Send of what waits as much as one request takes; what has arrived waits no longer."""
        for attempt in range(1, ATTEMPTS + 1):
            part = self._requests.first_of(waiting)
            self._record.sending(digest for digest, _ in part)
            self._is_fate_unknown = True
            try:
                answer = self._requests.create(part)
            except UNKNOWN_FATE as error:
                self._last_unknown_fate = time.monotonic()
                if attempt == ATTEMPTS:
                    raise
                logger.warning("job %d: %s; reading the job back (attempt %d)", self.job.id, error, attempt)
                self._requests.wait(attempt)
                before = len(waiting)
                self._settle()
                if len(waiting) < before:
                    return
            except ApiError as error:  # a refusal: nothing was done
                self._is_fate_unknown = False
                self._record_settled()
                self._requests.make_smaller(part, error)
            else:
                self._take_answer(part, answer)
                del waiting[: len(part)]
                return

    def _take_answer(self, part: Sequence[Waiting], answer: LabeledData) -> None:
        """Note what has arrived, and hold it against what was sent: CVAT may drop things silently."""
        stored = self._account.stored(each_annotation(answer))
        self._remember(stored)
        self._is_fate_unknown = False
        sent = Counter(digest for digest, _ in part)
        arrived = Counter(digest for _, _, digest in stored)
        if arrived != sent:
            self._refuse(sent, arrived, answer)
        self._account.written(part)
        self.added += len(part)

    def _refuse(self, sent: Counter[bytes], arrived: Counter[bytes], answer: LabeledData) -> NoReturn:
        """Remove what was stored otherwise than it was sent."""
        message = (
            f"job {self.job.id}: {counted(sent.total(), 'annotation was', 'annotations were')} sent,"
            f" the server says that it stored {arrived.total()},"
            f" of which {(arrived & sent).total()} are as they were sent"
        )
        try:
            self._remove(list(each_annotation(answer)))
        except PrefectCvatError as error:
            raise UploadError(f"{message}; removing these again failed: {error}") from error
        raise UploadError(f"{message}; these have been removed again")

    def _settle(self) -> None:
        """Read the job; what turns out to have arrived waits no longer."""
        self._begin()
        arrived = self._account.find_arrived(self._read())
        self.added += len(arrived)
        self._remember(arrived)
        self._is_fate_unknown = False

    def _remember(self, added: Sequence[Stored]) -> None:
        """Record what has arrived, and remember its ids for `undo`."""
        self._record.added(added)
        self._account.remember_ids(added)

    def _record_settled(self) -> None:
        """Record that nothing can arrive any more, if that is so."""
        if self._last_unknown_fate is None:
            self._record.settled()

    # --- when all is written ---

    def _verify(self) -> None:
        self._begin()
        is_final = not self.seconds_until_settled  # asked before the job is read
        wanted = self._account.wanted()
        found: Counter[bytes] = Counter()
        self._replacement.begin_again()
        for kind, annotation in self._read():
            if (digest := self._account.digest(annotation)) is not None and digest in wanted:
                found[digest] += 1
            elif self._account.was_there((kind, annotation["id"])):
                self._replacement.note_if_replaced(kind, annotation)
        if doubled := found - wanted:
            self._remove_surplus(doubled)
        if missing := (wanted - found).total():
            logger.warning(
                "job %d: %s removed or changed by somebody while it ran",
                self.job.id,
                counted(missing, "annotation of this run was", "annotations of this run were"),
            )
        if is_final:
            self._is_verified = True
            self._last_unknown_fate = None
            self._record_settled()
            self._account.forget()
            self._replacement.forget_frames()

    def _remove_surplus(self, doubled: Collection[bytes]) -> None:
        """Leave of what is there too often as many as are wanted; those of before go at the end."""
        surplus = self._account.find_surplus(self._read(), doubled)
        self._replacement.note_doubled(surplus.of_before)
        self._remember(surplus.stays)  # it may be what was committed late
        self._remove(surplus.goes)

    def _wait_for_late_commits(self) -> None:
        while seconds := self.seconds_until_settled:
            time.sleep(seconds)

    def _remove(self, annotations: Sequence[Standing]) -> None:
        for part in self._requests.delete(annotations):
            keys = [(kind, annotation["id"]) for kind, annotation in part]
            self._record.removed(key for key in keys if not self._account.was_there(key))
