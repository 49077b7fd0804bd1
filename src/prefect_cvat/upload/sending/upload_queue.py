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
"""How long annotations wait at first until there are enough for a request, in seconds; doubled each time."""

LONGEST_WAIT = 10.0
"""The same at the most, in seconds."""


class UploadQueue:
    """Annotations that wait until there are enough for a request. May be used from several threads.

    They are sent when there are as many as one request takes, when their job is complete, or when they have
    waited for some seconds.

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
        self._since = 0.0
        self._wait = FIRST_WAIT

    def add(self, job_id: int, new: Sequence[NewAnnotation]) -> None:
        """Take in annotations that a job has to send, and send what is due.

        Raises:
            UploadError: The server stored something else than was sent.
            PrefectCvatError: The server refused, or did not answer for good.
        """
        with self._lock:
            if new:
                if not self._waiting:
                    self._since = time.monotonic()
                self._waiting[job_id] = self._writers[job_id]
                self._count += len(new)
                self._bytes += sum(len(each.body.json) for each in new)
            if time.monotonic() - self._since > self._wait:
                if self._waiting:
                    self._wait = min(2 * self._wait, LONGEST_WAIT)
                self.send_all()
            else:
                self._send_full_requests()

    def send_complete(self, job_ids: Collection[int]) -> None:
        """Send what waits of jobs to which nothing more will be written, if it goes to each job alone."""
        with self._lock:
            if not self._is_together:
                self._send_alone([self._waiting[job_id] for job_id in job_ids if job_id in self._waiting])

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
        self._since = time.monotonic()

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
