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
from typing import Any, TypeAlias

from prefect_cvat.annotation_requests import (
    each_annotation,
    frames_of,
    json_size,
    kind_of,
    request_body,
    request_length,
)
from prefect_cvat.client import Client
from prefect_cvat.exceptions import (
    ApiError,
    BadRequestError,
    InvalidResponseError,
    PrefectCvatError,
    ServerError,
    TooManyRequestsError,
    TransportError,
    UploadError,
)
from prefect_cvat.existing import Existing
from prefect_cvat.identity import AttributeDefaults, identity
from prefect_cvat.models import Job, LabeledData
from prefect_cvat.run_record import AnnotationId, JobRecord

__all__ = ["JobWriter"]

logger = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a write is tried whose fate is unknown each time."""


Waiting: TypeAlias = tuple[bytes, dict[str, Any]]
"""An annotation that is to be sent, and its identity."""


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
        self.already_there = 0
        self.removed = 0
        self._client = client
        self._existing = existing
        self._sources = frozenset(sources)
        self._defaults = defaults or {}
        self._record = record or JobRecord(job.id)
        self._lock = threading.Lock()
        self._baseline: set[AnnotationId] | None = None
        self._frames: set[int] = set()
        self._reusable: Counter[bytes] = Counter()
        self._reused: Counter[bytes] = Counter()
        self._written: Counter[bytes] = Counter()
        self._added_ids: dict[str, list[range]] = {"tags": [], "shapes": [], "tracks": []}
        self._to_replace: set[AnnotationId] = set()
        self._originals: dict[AnnotationId, bytes] = {}
        self._waiting: dict[object, list[Waiting]] = {}
        self._done: set[object] = set()
        self._is_verified = False
        self._is_fate_unknown = False
        self._last_unknown_fate: float | None = None

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
            self._read_baseline()
            waiting = self._waiting.get(part)
            if waiting is None:
                waiting = self._waiting[part] = self._not_there_yet(annotations)
            if self._is_fate_unknown:
                self._settle()
            while waiting:
                self._send(waiting)
            del self._waiting[part]
            self._done.add(part)
            self._frames.update(frames)

    def replace(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Remove these at the end, when what takes their place stands, if nobody has changed them since.

        Args:
            originals: Annotations of the job, as the server told them.
        """
        with self._lock:
            for annotation in originals:
                key = (kind_of(annotation), annotation["id"])
                self._originals[key] = identity(annotation, self._defaults)

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
            if self._to_replace or self._originals:
                replaced = [
                    (kind, annotation)
                    for kind, annotation in self._read()
                    if self._is_still_to_go((kind, annotation["id"]), annotation)
                ]
                # originals last: once they are gone, no later run would look for what stands there doubled
                replaced.sort(key=lambda item: (item[0], item[1]["id"]) in self._originals)
                self.removed += len(replaced)
                self._remove(replaced)
                self._record.replaced(len(replaced))
                self._to_replace.clear()
                self._originals.clear()

    def undo(self) -> None:
        """Remove what this run has added to the job, but for what somebody has corrected since."""
        with self._lock:
            ours = self._written + Counter(
                digest for waiting in self._waiting.values() for digest, _ in waiting
            )
            ids = {kind: {i for part in ranges for i in part} for kind, ranges in self._added_ids.items()}
            if self._baseline is None or not (ours or any(ids.values())):
                return
            self._wait_for_late_commits()
            self._remove(
                [
                    (kind, annotation)
                    for kind, annotation in self._read()
                    if (kind, annotation["id"]) not in self._baseline
                    and annotation.get("source") in self._sources
                    and (annotation["id"] in ids[kind] or self._digest(annotation) in ours)
                ]
            )
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

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return self._client.each_job_annotation(self.job.id)

    def _digest(self, annotation: Mapping[str, Any]) -> bytes | None:
        """What to know an annotation by that a run like this one may have made; None for any other."""
        if annotation.get("source") not in self._sources:
            return None
        return identity(annotation, self._defaults)

    def _read_baseline(self) -> set[AnnotationId]:
        if self._baseline is None:
            baseline: set[AnnotationId] = set()
            for kind, annotation in self._read():
                baseline.add((kind, annotation["id"]))
                if (digest := self._digest(annotation)) is not None:
                    self._reusable[digest] += 1
            self._baseline = baseline
            self._record.begin(baseline)
        return self._baseline

    def _not_there_yet(self, annotations: Iterable[dict[str, Any]]) -> list[Waiting]:
        waiting = []
        for annotation in annotations:
            digest = identity(annotation, self._defaults)
            if self._reusable[digest] > 0:
                self._reusable[digest] -= 1
                self._reused[digest] += 1
                self.already_there += 1
            else:
                waiting.append((digest, annotation))
        return waiting

    def _send(self, waiting: list[Waiting]) -> None:
        """Send of what waits as much as one request takes; what has arrived waits no longer."""
        for attempt in range(1, ATTEMPTS + 1):
            part = waiting[: request_length(waiting, self.most_annotations, self.most_bytes)]
            self._record.sending(digest for digest, _ in part)
            self._is_fate_unknown = True
            try:
                answer = self._client.create_job_annotations(self.job.id, request_body(part))
            except (TransportError, ServerError, TooManyRequestsError, InvalidResponseError) as error:
                self._last_unknown_fate = time.monotonic()
                if attempt == ATTEMPTS:
                    raise
                logger.warning("job %d: %s; reading the job back (attempt %d)", self.job.id, error, attempt)
                time.sleep(self._delay(attempt))
                before = len(waiting)
                self._settle()
                if len(waiting) < before:
                    return
            except ApiError as error:  # a refusal: nothing was done
                self._is_fate_unknown = False
                self._record_settled()
                self._send_less(part, error)
            else:
                stored = [
                    (kind, annotation["id"], identity(annotation, self._defaults))
                    for kind, annotation in each_annotation(answer)
                ]
                self._remember_added(stored)
                self._is_fate_unknown = False
                self._check(part, answer, Counter(digest for _, _, digest in stored))
                self._written.update(digest for digest, _ in part)
                self.added += len(part)
                del waiting[: len(part)]
                return

    def _remember_added(self, added: Sequence[tuple[str, int, bytes]]) -> None:
        """Record what has arrived, and remember its ids for `undo`."""
        self._record.added(added)
        for kind, annotation_id, _ in added:
            ranges = self._added_ids[kind]  # the server numbers what it stores one by one
            if ranges and ranges[-1].stop == annotation_id:
                ranges[-1] = range(ranges[-1].start, annotation_id + 1)
            else:
                ranges.append(range(annotation_id, annotation_id + 1))

    def _record_settled(self) -> None:
        """Record that nothing can arrive any more, if that is so."""
        if self._last_unknown_fate is None:
            self._record.settled()

    def _send_less(self, part: Sequence[tuple[object, dict[str, Any]]], error: ApiError) -> None:
        """Where a proxy on the way found a request too large, make the next ones half as large."""
        is_too_large = error.status == 413 or (error.status == 400 and error.is_html)
        if not is_too_large or len(part) == 1:
            raise error
        self.most_bytes = sum(json_size(annotation) for _, annotation in part) // 2

    def _settle(self) -> None:
        """Read the job; what turns out to have arrived waits no longer."""
        unaccounted: dict[bytes, list[AnnotationId]] = {}
        baseline = self._read_baseline()
        for kind, annotation in self._read():
            key = (kind, annotation["id"])
            if key not in baseline and (digest := self._digest(annotation)) is not None:
                unaccounted.setdefault(digest, []).append(key)
        for digest, ids in unaccounted.items():
            del ids[: self._written[digest]]  # these have been accounted for before
        added: list[tuple[str, int, bytes]] = []
        for waiting in self._waiting.values():
            still_waiting = []
            for digest, annotation in waiting:
                if arrived := unaccounted.get(digest):
                    kind, annotation_id = arrived.pop()
                    added.append((kind, annotation_id, digest))
                    self._written[digest] += 1
                    self.added += 1
                else:
                    still_waiting.append((digest, annotation))
            waiting[:] = still_waiting
        self._remember_added(added)
        self._is_fate_unknown = False

    def _check(self, sent: Sequence[Waiting], answer: LabeledData, stored: Counter[bytes]) -> None:
        """Compare what the server says it stored with what was sent: CVAT may drop things silently."""
        expected = Counter(digest for digest, _ in sent)
        if stored == expected:
            return
        message = (
            f"job {self.job.id}: {expected.total()} annotations were sent, the server says that it stored"
            f" {stored.total()}, of which {(stored & expected).total()} are as they were sent"
        )
        try:
            self._remove(list(each_annotation(answer)))
        except PrefectCvatError as error:
            raise UploadError(f"{message}; removing these again failed: {error}") from error
        raise UploadError(f"{message}; these have been removed again")

    def _verify(self) -> None:
        baseline = self._read_baseline()
        is_final = not self.seconds_until_settled  # asked before the job is read
        wanted = self._written + self._reused
        found: Counter[bytes] = Counter()
        self._to_replace.clear()
        for kind, annotation in self._read():
            if (digest := self._digest(annotation)) is not None and digest in wanted:
                found[digest] += 1
            elif (kind, annotation["id"]) in baseline and self._is_replaced(annotation):
                self._to_replace.add((kind, annotation["id"]))
        if doubled := found - wanted:
            self._remove_surplus(doubled, wanted)
        if missing := (wanted - found).total():
            logger.warning(
                "job %d: %d annotations of this run were removed or changed by somebody while it ran",
                self.job.id,
                missing,
            )
        if is_final:
            self._is_verified = True
            self._last_unknown_fate = None
            self._record_settled()
            for what_was_remembered in (self._written, self._reusable, self._reused, self._frames):
                what_was_remembered.clear()

    def _remove_surplus(self, doubled: Collection[bytes], wanted: Mapping[bytes, int]) -> None:
        """Leave of what is there too often as many as are wanted, those of before first."""
        baseline = self._read_baseline()
        equal: dict[bytes, list[tuple[str, dict[str, Any]]]] = {}
        for kind, annotation in self._read():
            if (digest := self._digest(annotation)) in doubled and digest is not None:
                equal.setdefault(digest, []).append((kind, annotation))
        surplus: list[tuple[str, dict[str, Any]]] = []
        for digest, found in equal.items():
            found.sort(key=lambda item: (item[0], item[1]["id"]) not in baseline)
            for kind, annotation in found[wanted[digest] :]:
                if (kind, annotation["id"]) in baseline:  # a run before this one has doubled it
                    self._to_replace.add((kind, annotation["id"]))
                else:
                    surplus.append((kind, annotation))
            self._remember_added(  # what stays may be what was committed late
                [
                    (kind, annotation["id"], digest)
                    for kind, annotation in found[: wanted[digest]]
                    if (kind, annotation["id"]) not in baseline
                ]
            )
        self._remove(surplus)

    def _is_replaced(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation of before is to go; not from a frame that this run leaves out."""
        return self._existing.removes(annotation) and self._frames.issuperset(frames_of(annotation))

    def _is_still_to_go(self, key: AnnotationId, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation that was to be removed still is: somebody may have corrected it."""
        if key in self._originals:
            return identity(annotation, self._defaults) == self._originals[key]
        return key in self._to_replace and (
            self._existing is Existing.CLEAR or annotation.get("source") in self._sources
        )

    def _wait_for_late_commits(self) -> None:
        while seconds := self.seconds_until_settled:
            time.sleep(seconds)

    def _remove(self, annotations: Sequence[tuple[str, dict[str, Any]]]) -> None:
        start = 0
        while start < len(annotations):
            rest = annotations[start : start + self.most_annotations]
            part = rest[: request_length(rest, self.most_annotations, self.most_bytes)]
            body: dict[str, list[dict[str, Any]]] = {"tags": [], "shapes": [], "tracks": []}
            for kind, annotation in part:
                body[kind].append(annotation)
            try:
                self._delete(body)
            except BadRequestError as error:
                self._send_less(part, error)
            else:
                start += len(part)
                keys = [(kind, annotation["id"]) for kind, annotation in part]
                self._record.removed(key for key in keys if key not in (self._baseline or ()))

    def _delete(self, body: dict[str, list[dict[str, Any]]]) -> None:
        """Delete by id. Deleting what is gone does nothing, so this may be tried again as it is."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._client.delete_job_annotations(self.job.id, body)
            except (TransportError, ServerError, TooManyRequestsError, InvalidResponseError):
                if attempt == ATTEMPTS:
                    raise
                time.sleep(self._delay(attempt))
            else:
                return

    def _delay(self, attempt: int) -> float:
        return min(30.0, self.retry_delay * 2.0 ** (attempt - 1))
