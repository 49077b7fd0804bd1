"""What waits to be sent to the jobs of a task: in few requests, and soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence

from prefect_cvat.upload.annotation_files import NewAnnotation
from prefect_cvat.upload.job_writer import JobWriter
from prefect_cvat.upload.sending.parallel_jobs import for_each_job
from prefect_cvat.upload.sending.task_sender import TaskSender

__all__ = ["UploadQueue"]

FIRST_WAIT = 3.0
"""Seconds after the first batch in which annotations wait for a full request; doubled each time."""

LONGEST_WAIT = 10.0
"""Maximum of these seconds."""


class UploadQueue:
    """Annotations that wait until there are enough for a request. May be used from several threads.

    They are sent when there are as many as one request takes, and at the end of a batch if their job is
    complete, or some seconds after the last request of this kind; those of the first batch at once.

    Args:
        writers: The writers of the jobs by the ids of these.
        task_sender: Sends to several jobs in one request; None where that is not the same as to each of them.

    Attributes:
        has_failed: Whether sending has failed the last time.
    """

    def __init__(self, writers: Mapping[int, JobWriter], task_sender: TaskSender | None) -> None:
        self.has_failed = False
        self._writers = writers
        self._task_sender = task_sender
        self._lock = threading.RLock()
        self._waiting: dict[int, JobWriter] = {}
        self._count = 0
        self._bytes = 0
        # jobs that are written to one by one do not get a request for their first frames alone
        first_wait = FIRST_WAIT if task_sender is None and len(writers) > 1 else 0.0
        self._due_at = time.monotonic() + first_wait
        self._wait = FIRST_WAIT

    def add(self, job_id: int, new: Sequence[NewAnnotation]) -> None:
        """Take in annotations that a job has to send, and send those that fill a request.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        with self._lock:
            if new:
                self._waiting[job_id] = self._writers[job_id]
                self._count += len(new)
                self._bytes += sum(len(each.body.json) for each in new)
            self._send_full_requests()

    def end_batch(self, complete_jobs: Collection[int]) -> None:
        """Send what is due at the end of a batch. Raises what `add` raises.

        Args:
            complete_jobs: The ids of jobs to which nothing more will be written.
        """
        with self._lock:
            if self._waiting and time.monotonic() > self._due_at:
                self.send_all()
                self._due_at = time.monotonic() + self._wait
                self._wait = min(2 * self._wait, LONGEST_WAIT)
            elif not self._is_together:
                self._send_alone(
                    [self._waiting[job_id] for job_id in complete_jobs if job_id in self._waiting]
                )

    def send_all(self) -> None:
        """Send all that waits. Raises what `add` raises."""
        with self._lock:
            while self._waiting:
                if self._is_together:
                    self._send_together()
                else:
                    self._send_alone(self._waiting.values())

    @property
    def _is_together(self) -> bool:
        return self._task_sender is not None and self._task_sender.is_usable

    def _send_full_requests(self) -> None:
        """Send as many requests as are full; what is left waits."""
        if not self._is_full:
            return
        while self._is_full and self._is_together:
            self._send_together()
        if self._is_full:
            least = JobWriter.max_annotations
            self._send_alone(
                [writer for writer in self._waiting.values() if len(writer.unsent) >= least], at_least=least
            )
            if self._bytes >= JobWriter.max_bytes:
                self._send_alone(self._waiting.values())

    @property
    def _is_full(self) -> bool:
        return self._count >= JobWriter.max_annotations or self._bytes >= JobWriter.max_bytes

    def _send_together(self) -> None:
        assert self._task_sender is not None
        self.has_failed = True
        waiting = sorted(self._waiting.values(), key=lambda writer: writer.job.start_frame)
        self._send_alone(self._task_sender.send(waiting))

    def _send_alone(self, writers: Collection[JobWriter], at_least: int = 1) -> None:
        self.has_failed = True
        for_each_job(lambda writer: writer.send(at_least), writers)
        self._waiting = {job_id: writer for job_id, writer in self._waiting.items() if writer.unsent}
        unsent = [writer.unsent for writer in self._waiting.values()]
        self._count = sum(map(len, unsent))
        self._bytes = sum(len(each.body.json) for of_job in unsent for each in of_job)
        self.has_failed = False
