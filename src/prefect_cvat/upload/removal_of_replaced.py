"""Removes the annotations that a run replaces from one job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic_core import from_json

from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.planning.annotated_frames import shown_frames
from prefect_cvat.records.annotation_index import AnnotationIds
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.upload.job_comparison import Comparison
from prefect_cvat.upload.job_ledger import JobLedger
from prefect_cvat.upload.replacement import Replacement
from prefect_cvat.upload.sending.job_requests import JobRequests, Pause, Pick

__all__ = ["JobRemoval"]


class JobRemoval:
    """Removes the annotations that a run replaces from one job, once the new ones are known to be there.

    Args:
        requests: The requests to the job.
        ledger: The known annotations of the job.
        replacement: Chooses what to remove.
        record: The record of what the run does to the job.
        last_frame: The last frame of the job.
        pause: Waits a number of seconds; may raise to stop the run.

    Attributes:
        removed: The number of removed annotations.
        changed: The number of annotations that `existing` would remove but that stay, because somebody has
            drawn or changed them since the run began.
        not_replaced: The number of annotations that stay because their replacements are missing.
    """

    def __init__(
        self,
        requests: JobRequests,
        ledger: JobLedger,
        replacement: Replacement,
        record: JobRecord,
        *,
        last_frame: int,
        pause: Pause,
    ) -> None:
        self.removed = 0
        self.changed = 0
        self.not_replaced = 0
        self._requests = requests
        self._ledger = ledger
        self._replacement = replacement
        self._record = record
        self._last_frame = last_frame
        self._pause = pause
        self._absent = AnnotationIds()
        self._is_any_gone = False  # any annotation that the run wants in the job

    def note_verified(self, verified: Comparison) -> None:
        """Use the result of a verification of the job."""
        self._absent = AnnotationIds((kind, number) for kind, number, _ in verified.absent)
        missing_frames = {
            frame
            for annotation in self._ledger.bodies(verified.absent)
            for frame in shown_frames(from_json(annotation.body.json), self._last_frame)
        }
        self._replacement.verified(missing_frames, verified.duplicates_before)

    def is_needed(self, held: Iterable[ServerAnnotation] | None = None) -> bool:
        """Whether there may be anything to remove.

        Args:
            held: All annotations of the job, if read after the last write to it.
        """
        if held is None or not self._replacement.is_needed:
            return self._replacement.is_needed
        return bool(self._picker()(iter(held), 1)) or self._is_any_gone

    def remove(self) -> bool:
        """Remove what the run replaces; return False if a replacement is gone.

        Raises:
            JobBusyError: Annotations are left, because somebody keeps writing to the job.
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        for part in self._requests.remove(self._picker(), self._pause):
            self.removed += len(part)
            self._record.replaced(part)
        if not self._is_any_gone:
            self._replacement.clear()
        return not self._is_any_gone

    def _picker(self) -> Pick:
        """Chooses the annotations to remove: none if an annotation of the run is gone."""
        baseline = self._ledger.baseline
        replaceable, kept = baseline.replaceable(), baseline.kept()
        wanted = self._ledger.wanted(self._absent)

        def pick(on_server: Iterator[ServerAnnotation], max_count: int) -> Sequence[ServerAnnotation]:
            removal = self._replacement.select(
                on_server, max_count, replaceable=replaceable, kept=kept, wanted=wanted
            )
            self._is_any_gone = bool(removal.gone)
            self.changed, self.not_replaced = removal.changed, removal.not_replaced
            if not removal.gone:
                return removal.to_remove
            self.not_replaced += len(removal.to_remove)
            return ()

        return pick
