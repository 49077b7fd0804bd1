"""Writing annotations to one job, each exactly once: the order of the steps (see the package docstring)."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from prefect_cvat.annotations.content_digest import AttributeDefaults
from prefect_cvat.annotations.request_bodies import SerializedAnnotation, ServerAnnotation
from prefect_cvat.cvat.client import Client
from prefect_cvat.http.retry_policy import ATTEMPTS, RetryPolicy
from prefect_cvat.models import Job
from prefect_cvat.options.existing import Existing
from prefect_cvat.planning.annotated_frames import shown_frames
from prefect_cvat.records.annotation_index import AnnotationIds, StoredAnnotation
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.settings import Settings
from prefect_cvat.upload.job_ledger import JobLedger
from prefect_cvat.upload.job_requests import JobRequests
from prefect_cvat.upload.job_sender import JobSender
from prefect_cvat.upload.job_verification import ROUNDS, JobVerification
from prefect_cvat.upload.replacement import Replacement

__all__ = ["JobWriter", "job_requests"]


def job_requests(client: Client, job_id: int) -> JobRequests:
    """The requests to a job, as `JobWriter` makes them."""
    return JobRequests(
        client,
        job_id,
        max_annotations=JobWriter.max_annotations,
        max_bytes=JobWriter.max_bytes,
        attempts=ATTEMPTS,
        retry=RetryPolicy(first_delay=JobWriter.retry_delay, longest_delay=30.0),
        late_commit_seconds=Settings().late_commit_seconds,
    )


class JobWriter:
    """Writes the annotations of one job. Threads may share it; only one of them writes at a time.

    Args:
        client: The server.
        job: The job.
        folder: The folder for its files; to be removed when the run is over.
        existing: Which annotations from before the run are to be replaced.
        sources: The sources of what is written. The run never takes annotations of other sources for its own.
        defaults: The attribute values that the server fills in.
        record: The record of what the run adds to the job.
        lock: The lock of the task; it is told which jobs have a request under way.
        stopped: Set when the run is to stop: then it no longer waits for anything.
        recognizes_refined: Whether a mask or a track that a machine has made of a detection stands for it.
        deleted_frames: The deleted frames of the task.

    Attributes:
        added: The number of annotations of this run that the job holds.
        already_there: The number of annotations to write that the job held before.
        removed: The number of annotations from before the run that were removed.
        changed: The number of annotations that stay although they were to be replaced, because somebody has
            drawn or changed them since the run began.
        not_replaced: The number of annotations that stay because what replaces them is missing.
        missing: The number of written annotations that the job does not hold.
        doubled_by_others: The number of annotations that others have added since the run began, and that are
            equal to some of this run.
    """

    max_annotations = 2000
    """Maximum number of annotations in a request: about a second of work for the server."""

    max_bytes = 8 * 2**20
    """Maximum size of a request in bytes; halved when a proxy refuses it."""

    retry_delay = 1.0
    """The time before the second attempt of a request in seconds; doubled each time, up to 30."""

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
        self._ledger = JobLedger(folder, job.id, sources, defaults, recognizes_refined=recognizes_refined)
        self._replacement = Replacement(existing, defaults, job.stop_frame, deleted_frames)
        self._record = record or JobRecord(job.id)
        self._sender = JobSender(
            job.id,
            self._requests,
            self._ledger,
            self._record,
            lock=lock,
            stopped=stopped or threading.Event(),
            attempts=ATTEMPTS,
            late_commit_seconds=settings.late_commit_seconds,
            stale_read_seconds=settings.stale_read_seconds,
        )
        self._verification = JobVerification(job.id, self._requests, self._ledger, self._sender)
        self._lock = threading.Lock()
        self._done: set[object] = set()
        self._absent = AnnotationIds()
        self._is_verified = False

    @property
    def unsettled(self) -> int:
        """The number of annotations that were sent, and of which it is unknown whether they are stored."""
        return self._sender.unsettled

    @property
    def seconds_until_settled(self) -> float:
        """The time until every request has been executed or never will be, in seconds."""
        return self._sender.seconds_until_settled

    @property
    def settled_at(self) -> float:
        """The time (`time.monotonic`) by which the server has executed all requests, or never will."""
        return self._sender.settled_at

    def read_baseline(self) -> None:
        """Note all that the job holds. To be called for all jobs of a run before it writes to any of them."""
        with self._lock:
            self._read_baseline()

    def write(
        self, part: object, annotations: Iterable[SerializedAnnotation], frames: Iterable[int] = ()
    ) -> None:
        """Add annotations to the job.

        Args:
            part: A name of this part of the work. Another call with the same part after an error continues
                where the first one stopped; a part that is complete is not written again.
            annotations: Tags, shapes and tracks.
            frames: Frames of which everything is written after this part: what was on these before the run
                may be replaced.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        with self._lock:
            if part in self._done:
                return
            self._read_baseline()
            self._sender.settle(0.0)
            unsent = self._ledger.unsent(part, annotations)
            self._is_verified = False
            self._sender.send_all(unsent)
            self._ledger.finish_part(part)
            self._done.add(part)
            self._replacement.cover(frames)
            self.added, self.already_there = self._sender.added, self._ledger.reused

    def replace(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Remove originals at the end, when what replaces them is there, unless somebody has changed them.

        Args:
            originals: Annotations of the job, as the server returned them.
        """
        with self._lock:
            self._replacement.add_originals(originals)

    def remove_duplicates(self, duplicates: Iterable[StoredAnnotation]) -> None:
        """Remove duplicates at the end, before all originals. Equal annotations stay.

        Args:
            duplicates: Annotations of the job.
        """
        with self._lock:
            self._replacement.add_duplicates(duplicates)

    def free_memory(self) -> None:
        """Keep as little in memory as possible until there is more to write."""
        with self._lock:
            self._ledger.baseline.free_memory()

    def verify(self, *, anew: bool = False) -> None:
        """Read the job when all of it is written, send again what is missing, and remove what is doubled.

        Args:
            anew: Whether to read it again even if it has been verified since the last write.
        """
        with self._lock:
            if anew or not self._is_verified:
                self._verify()

    def finish(self) -> None:
        """Verify the job; then remove what is to be replaced."""
        with self._lock:
            for _ in range(ROUNDS):
                if not self._is_verified:
                    self._verify()
                if not self._replacement.is_needed or self._remove_replaced():
                    return
                self._is_verified = False  # an annotation of the run is gone

    def undo(self) -> None:
        """Remove what this run has added to the job, unless somebody has changed it."""
        with self._lock:
            self._sender.continue_after_stop()  # also in a run that was stopped
            self._sender.settle(0.0)
            if self._ledger.may_have_added:
                self._sender.remove_own()
            self.added = 0
            self._record.settled()

    def _read_baseline(self) -> None:
        if not self._ledger.baseline.is_known:
            self._ledger.read_baseline(self._requests.read(), self._existing.removes)

    def _verify(self) -> None:
        self._read_baseline()
        self._sender.settle(0.0)
        self._ledger.baseline.free_memory()
        self._sender.send_all(self._ledger.to_resend)  # what an earlier attempt could not send
        if self._ledger.wants_anything:
            verified = self._verification.verify()
            self.added, self.already_there = verified.added, verified.already_there
            self.missing = len(verified.absent)
            self.doubled_by_others = verified.doubled_by_others
            self._absent = AnnotationIds((kind, number) for kind, number, _ in verified.absent)
            self._replacement.verified(self._shown_frames(verified.absent), verified.duplicates_before)
            if not self.doubled_by_others:  # else an abandoned request may have created them: for `undo`
                self._record.settled()
        self._is_verified = True

    def _shown_frames(self, annotations: Iterable[StoredAnnotation]) -> set[int]:
        """The frames that show annotations of this run."""
        return {
            frame
            for annotation in self._ledger.bodies(annotations)
            for frame in shown_frames(from_json(annotation.body.json), self.job.stop_frame)
        }

    def _remove_replaced(self) -> bool:
        """Remove what is to be replaced; False if something that replaces it is gone."""
        ledger = self._ledger
        replaceable, kept = ledger.baseline.replaceable(), ledger.baseline.kept()
        wanted = ledger.wanted(self._absent)
        is_all_there = True

        def pick(on_server: Iterator[ServerAnnotation], max_count: int) -> Sequence[ServerAnnotation]:
            nonlocal is_all_there
            removal = self._replacement.select(
                on_server, max_count, replaceable=replaceable, kept=kept, wanted=wanted
            )
            is_all_there = not removal.gone
            self.changed, self.not_replaced = removal.changed, removal.not_replaced
            if is_all_there:
                return removal.to_remove
            self.not_replaced += len(removal.to_remove)
            return ()

        for part in self._requests.remove(pick, self._sender.pause):
            self.removed += len(part)
            self._record.replaced(len(part))
        if is_all_there:
            self._replacement.clear()
        return is_all_there
