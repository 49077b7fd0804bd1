"""Writing annotations to jobs, each exactly once.

CVAT 2.73 has no idempotency key, no version to compare and no lock, and it carries out a request whose
client has gone. What can be relied on: a request is carried out whole or not at all, annotations have
ids, and a job can be read back. So:

- Before the first write to a job, the ids of all that stands there are remembered (the *baseline*).
- An annotation that already stands there, equal and of source `auto`, is not written again. This alone
  lets a run that died be completed by running it again, from any machine, without a journal.
- After a write whose fate is unknown (time-out, reset, 5xx), the job is read back, and only what is
  missing is sent.
- When a job is complete it is read once more. A write that was committed after its client gave up shows as a
  surplus, and is removed. What is to be replaced is removed at the end of the run, when all replacements
  stand.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from prefect_cvat.client import Client
from prefect_cvat.exceptions import (
    ApiError,
    BadRequestError,
    InvalidResponseError,
    ServerError,
    TooManyRequestsError,
    TransportError,
    UploadError,
)
from prefect_cvat.identity import AttributeDefaults, identity
from prefect_cvat.models import Job, LabeledData

__all__ = ["Existing", "JobWriter"]

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 8 * 2**20
"""The most bytes of one write. Proxies before CVAT may refuse more than 1 MB: then it is halved."""

MAX_REQUEST_ANNOTATIONS = 2000
"""The most annotations of one write: about a second of work for the server."""

ATTEMPTS = 8
"""How often a write is tried whose fate is unknown each time."""


AnnotationId: TypeAlias = tuple[str, int]
"""`tags`, `shapes` or `tracks`, and the server's id, which is unique among these only."""

Waiting: TypeAlias = tuple[bytes, dict[str, Any]]
"""An annotation that is to be sent, and its identity."""


class Existing(StrEnum):
    """What becomes of the annotations that a task has already.

    Attributes:
        KEEP: They stay.
        CLEAR: They are removed, whoever made them, once their replacement stands.
        REPLACE_AUTO: Those of source `auto` are removed, once their replacement stands; what a human
            made, or has corrected, stays.
    """

    KEEP = "keep"
    CLEAR = "clear"
    REPLACE_AUTO = "replace_auto"

    def removes(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation that was there before the run is to go."""
        match self:
            case Existing.KEEP:
                return False
            case Existing.CLEAR:
                return True
            case Existing.REPLACE_AUTO:
                return annotation.get("source") == "auto"


class JobWriter:
    """Writes the annotations of one job. May be used from several threads; it writes one thing at a time.

    Args:
        client: The server.
        job: The job.
        existing: What becomes of what stands there already.
        defaults: The attribute values that the server fills in by itself.
        retry_delay: Seconds to wait before the second attempt of a write; doubled each time, up to 30.
        late_commit_seconds: How long after a write whose fate was unknown the last look is taken, so that
            one which the server was still busy with has been committed by then.
    """

    def __init__(
        self,
        client: Client,
        job: Job,
        *,
        existing: Existing = Existing.KEEP,
        defaults: AttributeDefaults | None = None,
        retry_delay: float = 1.0,
        late_commit_seconds: float = 10.0,
    ) -> None:
        self.job = job
        self.added = 0
        self.already_there = 0
        self.removed = 0
        self._client = client
        self._existing = existing
        self._defaults = defaults or {}
        self._retry_delay = retry_delay
        self._late_commit_seconds = late_commit_seconds
        self._lock = threading.Lock()
        self._baseline: set[AnnotationId] | None = None
        self._reusable: Counter[bytes] = Counter()
        self._reused: Counter[bytes] = Counter()
        self._written: Counter[bytes] = Counter()
        self._added_ids: dict[str, array[int]] = {"tags": array("q"), "shapes": array("q")}
        self._to_replace: set[AnnotationId] = set()
        self._waiting: dict[object, list[Waiting]] = {}
        self._is_fate_unknown = False
        self._last_unknown_fate: float | None = None

    def write(self, part: object, annotations: Iterable[dict[str, Any]]) -> None:
        """Add annotations to the job.

        Args:
            part: Names this part of the work. Calling again with the same part, after an error,
                goes on where it stopped.
            annotations: Tags (those without a `type`) and shapes, as the server's JSON objects.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        with self._lock:
            self._read_baseline()
            waiting = self._waiting.get(part)
            if waiting is None:
                waiting = self._waiting[part] = self._not_there_yet(annotations)
            if self._is_fate_unknown:
                self._settle(waiting)
            while waiting:
                self._send(waiting, _request_length(waiting))

    def verify(self) -> None:
        """Read the job once all of it is written; remove what is there twice.

        What was remembered of the writes is then forgotten, unless the fate of one was unknown: its
        server may yet commit it.
        """
        with self._lock:
            self._verify()

    def finish(self) -> None:
        """Remove what was to be replaced, and what a server committed after its client had given up."""
        with self._lock:
            if self._last_unknown_fate is not None:
                time.sleep(max(0.0, self._last_unknown_fate + self._late_commit_seconds - time.monotonic()))
                self._verify()
            if self._to_replace:
                self._remove(
                    (kind, annotation)
                    for kind, annotation in self._read()
                    if (kind, annotation["id"]) in self._to_replace
                )
                self._to_replace.clear()

    def undo(self) -> None:
        """Remove what this run has added to the job; what was there before it stays."""
        with self._lock:
            unsure = Counter(digest for waiting in self._waiting.values() for digest, _ in waiting)
            ids = {kind: set(ids) for kind, ids in self._added_ids.items()}
            if not unsure and not any(ids.values()):
                return
            added = []
            for kind, annotation in self._read():
                if kind == "tracks" or (kind, annotation["id"]) in (self._baseline or ()):
                    continue
                if annotation["id"] in ids[kind]:
                    added.append((kind, annotation))
                elif unsure[digest := identity(annotation, self._defaults)] > 0:
                    unsure[digest] -= 1
                    added.append((kind, annotation))
            self._remove(added)
            self.added = 0

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return _each(self._client.job_annotations(self.job.id))

    def _read_baseline(self) -> None:
        if self._baseline is not None:
            return
        baseline: set[AnnotationId] = set()
        for kind, annotation in self._read():
            baseline.add((kind, annotation["id"]))
            if kind != "tracks" and annotation.get("source") == "auto":
                self._reusable[identity(annotation, self._defaults)] += 1
        self._baseline = baseline

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

    def _send(self, waiting: list[Waiting], length: int) -> None:
        """Send the first `length` of what waits; what has arrived waits no longer."""
        for attempt in range(1, ATTEMPTS + 1):
            part = waiting[:length]
            try:
                answer = self._client.create_job_annotations(self.job.id, _body(part))
            except BadRequestError as error:
                if not (error.status == 413 or (error.status == 400 and error.is_html)) or length == 1:
                    raise
                self._send(waiting, (length + 1) // 2)  # too large for a proxy on the way
                return
            except (TransportError, ServerError, TooManyRequestsError, InvalidResponseError) as error:
                self._is_fate_unknown = True
                self._last_unknown_fate = time.monotonic()
                if attempt == ATTEMPTS:
                    raise
                logger.warning("job %d: %s; reading the job back (attempt %d)", self.job.id, error, attempt)
                time.sleep(min(30.0, self._retry_delay * 2 ** (attempt - 1)))
                before = len(waiting)
                self._settle(waiting)
                if len(waiting) < before:
                    return
            else:
                self._check(part, answer)
                for kind, annotation in _each(answer):
                    self._added_ids[kind].append(annotation["id"])
                self._written.update(digest for digest, _ in part)
                self.added += len(part)
                del waiting[:length]
                return

    def _settle(self, waiting: list[Waiting]) -> None:
        """Read the job; what turns out to have arrived waits no longer."""
        unaccounted: dict[bytes, list[AnnotationId]] = {}
        for kind, annotation in self._read_ours():
            digest = identity(annotation, self._defaults)
            unaccounted.setdefault(digest, []).append((kind, annotation["id"]))
        for digest, ids in unaccounted.items():
            del ids[: self._written[digest]]  # these have been accounted for before
        still_waiting = []
        for digest, annotation in waiting:
            if ids := unaccounted.get(digest):
                kind, annotation_id = ids.pop()
                self._added_ids[kind].append(annotation_id)
                self._written[digest] += 1
                self.added += 1
            else:
                still_waiting.append((digest, annotation))
        waiting[:] = still_waiting
        self._is_fate_unknown = False

    def _read_ours(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The tags and shapes that were not there before this run and may be of its making."""
        assert self._baseline is not None
        for kind, annotation in self._read():
            if (
                kind != "tracks"
                and annotation.get("source") == "auto"
                and (kind, annotation["id"]) not in self._baseline
            ):
                yield kind, annotation

    def _check(self, sent: Sequence[Waiting], answer: LabeledData) -> None:
        """Compare what the server says it stored with what was sent: CVAT may drop things silently."""
        stored = Counter(identity(annotation, self._defaults) for _, annotation in _each(answer))
        expected = Counter(digest for digest, _ in sent)
        if stored != expected:
            self._delete({"tags": answer.tags, "shapes": answer.shapes, "tracks": answer.tracks})
            raise UploadError(
                f"job {self.job.id}: {expected.total()} annotations were sent, the server says that it stored"
                f" {stored.total()}, of which {(stored & expected).total()} are as they were sent;"
                " these have been removed again"
            )

    def _verify(self) -> None:
        self._read_baseline()
        assert self._baseline is not None
        ours, reused = self._written.copy(), self._reused.copy()
        surplus: list[tuple[str, dict[str, Any]]] = []
        for kind, annotation in self._read():
            is_auto = kind != "tracks" and annotation.get("source") == "auto"
            digest = identity(annotation, self._defaults) if is_auto else None
            if (kind, annotation["id"]) in self._baseline:
                if digest is not None and reused[digest] > 0:
                    reused[digest] -= 1
                elif self._existing.removes(annotation):
                    self._to_replace.add((kind, annotation["id"]))
            elif digest is not None and digest in self._written:
                ours[digest] -= 1
                if ours[digest] < 0:
                    surplus.append((kind, annotation))
        self._remove(surplus, is_replaced=False)
        if missing := sum(count for count in ours.values() if count > 0):
            logger.warning(
                "job %d: %d annotations of this run were removed or changed by somebody while it ran",
                self.job.id,
                missing,
            )
        if self._last_unknown_fate is None:
            self._written.clear()
            self._reusable.clear()
            self._reused.clear()
            self._waiting.clear()

    def _remove(self, annotations: Iterable[tuple[str, dict[str, Any]]], *, is_replaced: bool = True) -> None:
        to_remove = list(annotations)
        for start in range(0, len(to_remove), MAX_REQUEST_ANNOTATIONS):
            body: dict[str, list[dict[str, Any]]] = {"tags": [], "shapes": [], "tracks": []}
            for kind, annotation in to_remove[start : start + MAX_REQUEST_ANNOTATIONS]:
                body[kind].append(annotation)
            self._delete(body)
        if is_replaced:
            self.removed += len(to_remove)

    def _delete(self, body: dict[str, list[dict[str, Any]]]) -> None:
        """Delete by id. Deleting what is gone does nothing, so this may be tried again as it is."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._client.delete_job_annotations(self.job.id, body)
            except (TransportError, ServerError, TooManyRequestsError, InvalidResponseError):
                if attempt == ATTEMPTS:
                    raise
                time.sleep(min(30.0, self._retry_delay * 2 ** (attempt - 1)))
            else:
                return


def _each(data: LabeledData) -> Iterator[tuple[str, dict[str, Any]]]:
    for tag in data.tags:
        yield "tags", tag
    for shape in data.shapes:
        yield "shapes", shape
    for track in data.tracks:
        yield "tracks", track


def _body(part: Sequence[Waiting]) -> bytes:
    tags = [annotation for _, annotation in part if "type" not in annotation]
    shapes = [annotation for _, annotation in part if "type" in annotation]
    return json.dumps({"version": 0, "tags": tags, "shapes": shapes, "tracks": []}).encode()


def _request_length(waiting: Sequence[Waiting]) -> int:
    """How many of what waits fit into one request."""
    size = 0
    for length, (_, annotation) in enumerate(waiting[:MAX_REQUEST_ANNOTATIONS]):
        numbers = len(annotation.get("points") or ()) + sum(
            len(element["points"]) for element in annotation.get("elements") or ()
        )
        size += 300 + 20 * numbers  # about what the JSON takes
        if size > MAX_REQUEST_BYTES and length:
            return length
    return min(len(waiting), MAX_REQUEST_ANNOTATIONS)


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: the network or the server failed, not the request."""
    if isinstance(error, ApiError):
        return isinstance(error, ServerError | TooManyRequestsError)
    return isinstance(error, TransportError)
