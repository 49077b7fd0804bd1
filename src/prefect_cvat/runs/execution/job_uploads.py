"""Writing the annotations of a run to the jobs of its task, and verifying that they are there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prefect_cvat.annotations.request_bodies import SerializedAnnotation
from prefect_cvat.cvat.annotation_reading import AnnotationReading
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import ApiError, PrefectCvatError, StorageError
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.planning.whole_task import is_same_for_task
from prefect_cvat.runs.execution.job_changes import check_jobs
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.settings import current_settings
from prefect_cvat.upload.job_verification import EarlierReading
from prefect_cvat.upload.job_writer import JobWriter
from prefect_cvat.upload.sending.parallel_jobs import for_each_job
from prefect_cvat.upload.sending.task_sender import TaskSender
from prefect_cvat.upload.sending.upload_queue import UploadQueue

__all__ = ["JobUploads", "make_folder"]

logger = logging.getLogger(__name__)


class JobUploads:
    """The writers of all jobs of a run. May be used from several threads.

    Where that is the same (see `is_same_for_task`), all jobs are read in one request about the task, and
    several are written to in one request. Else, and once the server has refused that, each job is read and
    written to with requests of its own, several jobs at a time.

    Args:
        client: The server.
        plan: The plan of the run.
        writers: A writer for each of its jobs, by the id of the job.
        folder: A folder for what is read.
        pause: Waits for some seconds; raises `RunStoppedError` when the run is to stop.
    """

    def __init__(
        self,
        client: Client,
        plan: Plan,
        writers: dict[int, JobWriter],
        folder: Path,
        pause: Callable[[float], None],
    ) -> None:
        self.writers = writers
        self.has_baseline = False
        self._client = client
        self._plan = plan
        self._folder = folder
        self._pause = pause
        self._is_whole = is_same_for_task(plan.info, plan.jobs)
        task_sender = TaskSender(
            client,
            plan.task.id,
            retry_delay=JobWriter.retry_delay,
            late_commit_seconds=current_settings().late_commit_seconds,
        )
        self._queue = UploadQueue(writers, task_sender if self._is_whole else None)
        self._baseline: AnnotationReading | None = None
        self._verification: AnnotationReading | None = None
        self._baseline_lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="baseline")
        self._is_read_ahead = False
        self._uploaded_lock = threading.Lock()
        self._uploaded: dict[int, dict[int, int]] = {}  # frames by batch, of jobs that are not complete yet

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until the server must have committed all requests whose answers were lost."""
        return max((writer.sender.seconds_until_settled for writer in self.writers.values()), default=0.0)

    @property
    def are_missing(self) -> bool:
        """Whether annotations that were written are not on the server."""
        return any(writer.missing for writer in self.writers.values())

    @property
    def have_removed(self) -> bool:
        """Whether existing annotations have been removed."""
        return any(writer.removal.removed for writer in self.writers.values())

    def read_ahead(self) -> None:
        """Begin to read all jobs, as `write` does before the first write, which waits for it then."""
        with self._uploaded_lock:
            if not self._is_read_ahead:
                self._is_read_ahead = True
                self._ahead.submit(self._read_baseline)

    def write(
        self,
        job_id: int,
        part: object,
        annotations: Iterable[SerializedAnnotation],
        frames: Iterable[int] = (),
    ) -> None:
        """Write to a job, see `JobWriter.write`. Before the first write, all jobs are read.

        What is written may wait some seconds until it is sent, for `verify` at the latest.
        """
        self._read_baseline()
        self._queue.add(job_id, self.writers[job_id].queue(part, annotations, frames))

    def complete_batch(self, batch: Batch) -> None:
        """Note that a batch is written. Jobs of which all frames are written are sent, and release memory."""
        numbers = [frame.number for frame in batch.frames]
        complete: list[int] = []
        for job in self._plan.jobs_between(numbers[0], numbers[-1]):
            with self._uploaded_lock:
                uploaded = self._uploaded.setdefault(job.id, {})
                uploaded[batch.index] = sum(job.start_frame <= n <= job.stop_frame for n in numbers)
                frames = self._plan.frames.count_between(job.start_frame, job.stop_frame)
                if sum(uploaded.values()) == frames:
                    complete.append(job.id)
        self._queue.end_batch(complete)
        for job_id in complete:
            self.writers[job_id].free_memory()
            self._uploaded[job_id] = {}
        baseline = self._baseline
        if baseline is not None and self._has_sent:
            self._baseline = None  # another batch may end at the same time
            baseline.close()

    def close(self) -> None:
        """Send what still waits when the run has failed, unless sending has just failed."""
        self._ahead.shutdown(cancel_futures=True)
        if self._queue.has_failed:
            return
        try:
            self._queue.send_all()
        except PrefectCvatError as error:
            logger.warning("task %d: %s; the next run sends what was not sent", self._plan.task.id, error)

    def verify(self, *, after_late_writes: bool = False) -> None:
        """Verify all jobs, and once more those to which another run has added equal annotations meanwhile.

        That run may fail and remove what it has added. What it had written first, and this run has therefore
        left out, must then be written by this run.

        Args:
            after_late_writes: Wait until no write can arrive any more.

        Raises:
            JobsChangedError: The task has other jobs than the plan.
            RunStoppedError: The run is to stop.
        """
        self._queue.send_all()
        writers = self.writers.values()
        if after_late_writes:
            settled_at = max((writer.sender.settled_at for writer in writers), default=0.0)
            self._pause(max(0.0, settled_at - time.monotonic()))
        self._verify_each()
        until = time.monotonic() + current_settings().stale_read_seconds
        delay = 0.5
        waited_for = [writer for writer in writers if writer.doubled_by_others]
        while (duplicates := [w for w in waited_for if w.doubled_by_others]) and time.monotonic() < until:
            self._pause(min(delay, max(0.0, until - time.monotonic())))
            delay *= 2
            for writer in duplicates:
                writer.verify(anew=True)
        if waited_for and not duplicates:
            self._verify_each(anew=True)  # the other run may have removed annotations from any job

    def finish(self, job_ids: Collection[int] | None = None) -> None:
        """Remove the annotations that were replaced.

        Args:
            job_ids: In which jobs; None for all.

        Raises:
            RunStoppedError: The run is to stop.
        """

        def finish(writer: JobWriter) -> None:
            self._pause(0.0)
            writer.finish()

        wanted = self.writers.keys() if job_ids is None else set(job_ids)
        reading = self._verification
        if reading is not None:
            wanted -= {
                job_id
                for job_id, held in reading.each(wanted & set(reading.kept))
                if self.writers[job_id].is_finished(EarlierReading(held, reading.began))
            }
        for_each_job(finish, [writer for job_id, writer in self.writers.items() if job_id in wanted])

    def undo(self) -> None:
        """Remove what was written, from every job, also if that fails for some.

        Raises:
            PrefectCvatError: It failed for a job.
        """
        for_each_job(JobWriter.undo, self.writers.values(), despite_errors=True)

    def update(self, report: RunReport) -> None:
        """Set the counts of the report that say what is on the server."""
        writers = self.writers.values()
        report.added = sum(writer.added for writer in writers)
        report.already_there = sum(writer.already_there for writer in writers)
        report.removed = sum(writer.removal.removed for writer in writers)
        report.changed = sum(writer.removal.changed for writer in writers)
        report.not_replaced = sum(writer.removal.not_replaced for writer in writers)
        report.missing = sum(writer.missing for writer in writers)
        report.doubled_by_others = sum(writer.doubled_by_others for writer in writers)
        report.unsettled = sum(writer.sender.unsettled for writer in writers)

    def _read_baseline(self) -> None:
        with self._baseline_lock:
            if self.has_baseline:
                return
            self._baseline = reading = self._new_reading("baseline")
            for job_id, held in reading.each():
                self._pause(0.0)
                self.writers[job_id].read_baseline(held)
            self._is_whole = reading.is_whole
            self.has_baseline = True

    def _verify_each(self, *, anew: bool = False) -> None:
        """Verify all jobs, by what was read before the run if nothing has been written since."""
        to_verify = {job_id for job_id, writer in self.writers.items() if writer.is_to_verify(anew=anew)}
        if not to_verify:
            return
        reading = self._baseline
        is_new = anew or reading is None or not self._is_unchanged(reading)
        if is_new or reading is None:
            if self._is_whole:
                check_jobs(self._client, self._plan)
            reading = self._new_reading("verification")
        to_finish = {job_id for job_id, writer in self.writers.items() if writer.removal.is_needed()}
        for job_id, held in reading.each(to_verify | to_finish):
            self._pause(0.0)
            if job_id in to_verify:
                earlier = EarlierReading(held if is_new else None, reading.began)
                self.writers[job_id].verify(earlier, anew=anew)
        self._is_whole = reading.is_whole
        self._verification = reading

    def _new_reading(self, name: str) -> AnnotationReading:
        return AnnotationReading(
            self._client, self._plan.task.id, self._plan.jobs, self._folder / name, is_whole=self._is_whole
        )

    def _is_unchanged(self, baseline: AnnotationReading) -> bool:
        """Whether nobody has written to the task since before it was read: CVAT dates each write."""
        before = self._plan.task.updated_date
        if self._has_sent or before is None or not self.writers.keys() <= set(baseline.kept):
            return False
        try:
            return self._client.task(self._plan.task.id).updated_date == before
        except ApiError:
            return False

    @property
    def _has_sent(self) -> bool:
        return any(writer.sender.last_write for writer in self.writers.values())


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
