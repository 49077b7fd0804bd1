"""Writing the annotations of a run to the jobs of its task, and verifying that they are there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from prefect_cvat.annotations.request_bodies import SerializedAnnotation
from prefect_cvat.exceptions import PrefectCvatError, StorageError
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.reports.run_report import RunReport
from prefect_cvat.settings import Settings
from prefect_cvat.upload.job_writer import JobWriter

__all__ = ["JobUploads", "make_folder"]

logger = logging.getLogger(__name__)


class JobUploads:
    """The writers of all jobs of a run. May be used from several threads.

    Args:
        plan: The plan of the run.
        writers: A writer for each of its jobs, by the id of the job.
        pause: Waits for some seconds; raises `RunStoppedError` when the run is to stop.
    """

    def __init__(self, plan: Plan, writers: dict[int, JobWriter], pause: Callable[[float], None]) -> None:
        self.writers = writers
        self.has_baseline = False
        self._plan = plan
        self._pause = pause
        self._baseline_lock = threading.Lock()
        self._uploaded_lock = threading.Lock()
        self._uploaded: dict[int, dict[int, int]] = {}  # frames by batch, of jobs that are not complete yet

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until the server must have committed all requests whose answers were lost."""
        return max((writer.seconds_until_settled for writer in self.writers.values()), default=0.0)

    @property
    def are_missing(self) -> bool:
        """Whether annotations that were written are not on the server."""
        return any(writer.missing for writer in self.writers.values())

    @property
    def have_removed(self) -> bool:
        """Whether existing annotations have been removed."""
        return any(writer.removed for writer in self.writers.values())

    def write(
        self,
        job_id: int,
        part: object,
        annotations: Iterable[SerializedAnnotation],
        frames: Iterable[int] = (),
    ) -> None:
        """Write to a job, see `JobWriter.write`. Before the first write, all jobs are read."""
        with self._baseline_lock:
            if not self.has_baseline:
                for writer in self.writers.values():
                    writer.read_baseline()
                self.has_baseline = True
        self.writers[job_id].write(part, annotations, frames)

    def release_memory_of_complete_jobs(self, batch: Batch) -> None:
        """Note that a batch is written; jobs of which all frames are written release their memory."""
        numbers = [frame.number for frame in batch.frames]
        for job in self._plan.jobs_between(numbers[0], numbers[-1]):
            with self._uploaded_lock:
                uploaded = self._uploaded.setdefault(job.id, {})
                uploaded[batch.index] = sum(job.start_frame <= n <= job.stop_frame for n in numbers)
                frames = self._plan.frames.count_between(job.start_frame, job.stop_frame)
                is_complete = sum(uploaded.values()) == frames
            if is_complete:
                self.writers[job.id].free_memory()
                self._uploaded[job.id] = {}

    def verify(self, *, after_late_writes: bool = False) -> None:
        """Verify all jobs, and once more those to which another run has added equal annotations meanwhile.

        That run may fail and remove what it has added. What it had written first, and this run has therefore
        left out, must then be written by this run.

        Args:
            after_late_writes: Wait until no write can arrive any more.

        Raises:
            RunStoppedError: The run is to stop.
        """
        writers = self.writers.values()
        if after_late_writes:
            settled_at = max((writer.settled_at for writer in writers), default=0.0)
            self._pause(max(0.0, settled_at - time.monotonic()))
        for writer in writers:
            self._pause(0.0)
            writer.verify()
        until = time.monotonic() + Settings().stale_read_seconds
        delay = 0.5
        waited_for = [writer for writer in writers if writer.doubled_by_others]
        while (duplicates := [w for w in waited_for if w.doubled_by_others]) and time.monotonic() < until:
            self._pause(min(delay, max(0.0, until - time.monotonic())))
            delay *= 2
            for writer in duplicates:
                writer.verify(anew=True)
        if waited_for and not duplicates:
            for writer in writers:  # the other run may have removed annotations from any job
                writer.verify(anew=True)

    def finish(self, job_ids: Collection[int] | None = None) -> None:
        """Remove the annotations that were replaced.

        Args:
            job_ids: In which jobs; None for all.

        Raises:
            RunStoppedError: The run is to stop.
        """
        for job_id, writer in self.writers.items():
            if job_ids is None or job_id in job_ids:
                self._pause(0.0)
                writer.finish()

    def undo(self) -> None:
        """Remove what was written, from every job, also if that fails for some.

        Raises:
            PrefectCvatError: It failed for a job.
        """
        failures = []
        for writer in self.writers.values():
            try:
                writer.undo()
            except PrefectCvatError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def update(self, report: RunReport) -> None:
        """Set the counts of the report that say what is on the server."""
        writers = self.writers.values()
        report.added = sum(writer.added for writer in writers)
        report.already_there = sum(writer.already_there for writer in writers)
        report.removed = sum(writer.removed for writer in writers)
        report.changed = sum(writer.changed for writer in writers)
        report.not_replaced = sum(writer.not_replaced for writer in writers)
        report.missing = sum(writer.missing for writer in writers)
        report.doubled_by_others = sum(writer.doubled_by_others for writer in writers)
        report.unsettled = sum(writer.unsettled for writer in writers)


def make_folder(parent: Path, name: str) -> Path:
    """Make a folder in another one, unless it is there.

    Raises:
        StorageError: It cannot be made.
    """
    folder = parent / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"no folder {folder} can be made: {error}") from error
    return folder
