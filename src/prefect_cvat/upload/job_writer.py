"""Writes annotations to one job, each exactly once, in the steps of the package docstring."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_cvat.annotations.content_digest import AttributeDefaults
from prefect_cvat.annotations.request_bodies import SerializedAnnotation, ServerAnnotation
from prefect_cvat.cvat.client import Client
from prefect_cvat.files.spooled_file import MemoryShare
from prefect_cvat.http.retry_policy import MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME, RetryPolicy
from prefect_cvat.models import Job
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.records.annotation_index import StoredAnnotation
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.settings import Settings, current_settings
from prefect_cvat.upload.annotation_files import NewAnnotation
from prefect_cvat.upload.job_ledger import JobLedger
from prefect_cvat.upload.job_verification import ROUNDS, EarlierReading, JobVerification
from prefect_cvat.upload.removal_of_replaced import JobRemoval
from prefect_cvat.upload.replacement import Replacement
from prefect_cvat.upload.sending.job_requests import JobRequests
from prefect_cvat.upload.sending.job_sender import JobSender

__all__ = ["JobWriter", "job_requests"]


def job_requests(client: Client, job_id: int, settings: Settings | None = None) -> JobRequests:
    """The requests to a job, with the limits and attempts of `JobWriter`."""
    settings = settings or current_settings()
    return JobRequests(
        client,
        job_id,
        max_annotations=JobWriter.max_annotations,
        max_bytes=JobWriter.max_bytes,
        attempts=MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME,
        retry=RetryPolicy(first_delay=JobWriter.retry_delay, longest_delay=30.0),
        late_commit_seconds=settings.late_commit_seconds,
    )


class JobWriter:
    """Writes the annotations of one job. Threads may share it; one writes at a time.

    Args:
        client: The server.
        job: The job.
        folder: The folder for its files; the caller removes it after the run.
        existing: Which annotations from before the run it replaces.
        sources: The sources of the written annotations. The run never claims annotations of other sources.
        defaults: The attribute values that the server fills in.
        record: The record of what the run adds to the job.
        lock: The lock of the task; it records which jobs have a request in progress.
        stopped: Set to stop the run, which then no longer waits for anything.
        recognizes_refined: Whether a mask or track made from a detection by a model counts as it.
        deleted_frames: The deleted frames of the task.
        settings: The settings, read once for many jobs.
        share: The memory that its files may take instead.

    Attributes:
        sender: Sends the annotations.
        removal: Removes what they replace.
        lock: Held during writes to the job.
        already_there: The number of annotations to write that were in the job before.
        missing: The number of written annotations that are not in the job.
        doubled_by_others: The number of annotations added by others since the run began that equal its own.
    """

    max_annotations = 2000
    """Maximum number of annotations in a request: the server needs about a second for them."""

    max_bytes = 8 * 2**20
    """Maximum size of a request in bytes; halved when a proxy refuses it."""

    retry_delay = 1.0
    """Seconds before the second attempt of a request; doubled for each further one, up to 30."""

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
        settings: Settings | None = None,
        share: MemoryShare | None = None,
    ) -> None:
        self.job = job
        self.already_there = 0
        self.missing = 0
        self.doubled_by_others = 0
        settings = settings or current_settings()
        self._requests = job_requests(client, job.id, settings)
        defaults = defaults or {}
        self._existing = existing
        self._ledger = JobLedger(
            folder, job.id, sources, defaults, recognizes_refined=recognizes_refined, share=share
        )
        self._replacement = Replacement(existing, defaults, job.stop_frame, deleted_frames)
        self._record = record or JobRecord(job.id)
        self.sender = JobSender(
            job.id,
            self._requests,
            self._ledger,
            self._record,
            lock=lock,
            stopped=stopped or threading.Event(),
            attempts=MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME,
            late_commit_seconds=settings.late_commit_seconds,
            stale_read_seconds=settings.stale_read_seconds,
        )
        self.removal = JobRemoval(
            self._requests,
            self._ledger,
            self._replacement,
            self._record,
            last_frame=job.stop_frame,
            pause=self.sender.pause,
        )
        self._verification = JobVerification(job.id, self._requests, self._ledger, self.sender)
        self.lock = threading.Lock()
        self._done: set[object] = set()
        self._is_verified = False
        self._added_seen: int | None = None  # at the last verification

    @property
    def added(self) -> int:
        """The number of annotations of this run in the job."""
        return self.sender.added if self._added_seen is None else self._added_seen

    def read_baseline(self, held: Iterable[ServerAnnotation] | None = None) -> None:
        """Store all annotations of the job. Call this for all jobs of a run before it writes to any of them.

        Args:
            held: All annotations of the job, if the caller has read them.
        """
        with self.lock:
            self._read_baseline(held)

    def write(
        self, part: object, annotations: Iterable[SerializedAnnotation], frames: Iterable[int] = ()
    ) -> None:
        """Add annotations to the job.

        Args:
            part: A name for this part of the work. After an error, call again with the same part to continue
                where the first call stopped; a complete part is not written again.
            annotations: Tags, shapes and tracks.
            frames: Frames completed by this part: the run may replace their existing annotations.

        Raises:
            UploadError: The server stored something other than what was sent.
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        self.queue(part, annotations, frames)
        self.send()

    def queue(
        self, part: object, annotations: Iterable[SerializedAnnotation], frames: Iterable[int] = ()
    ) -> Sequence[NewAnnotation]:
        """Accept annotations as `write` does, but do not send them yet.

        Returns:
            The annotations to send: they were not in the job before the run.
        """
        with self.lock:
            if part in self._done:
                return ()
            self._read_baseline()
            new = self._ledger.want(annotations)
            self._is_verified = False
            self._added_seen = None
            self._done.add(part)
            self._replacement.cover(frames)
            self.already_there = self._ledger.reused
            return new

    @property
    def unsent(self) -> list[NewAnnotation]:
        """The annotations not sent yet."""
        return self._ledger.unsent

    @property
    def has_unsent_tracks(self) -> bool:
        """Whether there are tracks to send."""
        return any(each.body.kind == "tracks" for each in self._ledger.unsent)

    def send(self, at_least: int = 1) -> None:
        """Send the unsent annotations, while there are at least `at_least` of them.

        Raises:
            UploadError: The server stored something other than what was sent.
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        with self.lock:
            self._send(at_least)

    def replace(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Remove originals at the end, once the job has what replaces them, unless somebody has changed them.

        Args:
            originals: Annotations of the job, as the server returned them.
        """
        with self.lock:
            self._replacement.add_originals(originals)

    def remove_duplicates(self, duplicates: Iterable[StoredAnnotation]) -> None:
        """Remove duplicates at the end, before all originals. Equal annotations stay.

        Args:
            duplicates: Annotations of the job.
        """
        with self.lock:
            self._replacement.add_duplicates(duplicates)

    def free_memory(self) -> None:
        """Free memory until there is more to write."""
        with self.lock:
            self._ledger.baseline.free_memory()

    def is_to_verify(self, *, anew: bool = False) -> bool:
        """Whether `verify` would compare the job with what was written to it."""
        return (anew or not self._is_verified) and (bool(self.unsent) or self._ledger.wants_anything)

    def verify(self, earlier: EarlierReading | None = None, *, anew: bool = False) -> None:
        """Read the job after all writes, send missing annotations again, and remove duplicates.

        Args:
            earlier: An earlier reading of the job, used if nothing was sent since and nothing is missing.
            anew: Verify again even if the job has been verified since the last write.
        """
        with self.lock:
            if anew or not self._is_verified:
                self._verify(earlier)

    def is_finished(self, earlier: EarlierReading) -> bool:
        """Whether `finish` would change nothing, according to an earlier reading of the job."""
        with self.lock:
            is_current = self._is_verified and earlier.began > self.sender.last_write
            return is_current and not self.removal.is_needed(earlier.annotations)

    def finish(self) -> None:
        """Verify the job, then remove what the run replaces."""
        with self.lock:
            for _ in range(ROUNDS):
                if not self._is_verified:
                    self._verify()
                if not self.removal.is_needed() or self.removal.remove():
                    return
                self._is_verified = False  # an annotation of the run is gone

    def undo(self) -> None:
        """Remove what this run has added to the job, unless somebody has changed it."""
        with self.lock:
            self.sender.continue_after_stop()  # also in a run that was stopped
            self.sender.settle(0.0)
            if self._ledger.may_have_added:
                self.sender.remove_own()
            self._ledger.unsent.clear()
            self._added_seen = 0
            self._record.settled()

    def _read_baseline(self, held: Iterable[ServerAnnotation] | None = None) -> None:
        if not self._ledger.baseline.is_known:
            held = self._requests.read() if held is None else held
            self._ledger.read_baseline(held, self._existing.removes)

    def _send(self, at_least: int = 1) -> None:
        self.sender.settle(0.0)
        self.sender.send_all(self._ledger.unsent, at_least)

    def _verify(self, earlier: EarlierReading | None = None) -> None:
        self._read_baseline()
        self._send()
        self._ledger.baseline.free_memory()
        self.sender.send_all(self._ledger.to_resend)  # left by a failed attempt
        if self._ledger.wants_anything:
            verified = self._verification.verify(earlier)
            self._added_seen, self.already_there = verified.added, verified.already_there
            self.missing = len(verified.absent)
            self.doubled_by_others = verified.doubled_by_others
            self.removal.note_verified(verified)
            if not self.doubled_by_others:  # else `undo` needs it: an abandoned request may have created them
                self._record.settled()
        self._is_verified = True
