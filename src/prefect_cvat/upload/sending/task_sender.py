"""Sends tags and shapes to several jobs of a task in one request."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import groupby, islice

from prefect_cvat.annotations.request_bodies import (
    ServerAnnotation,
    each_annotation,
    request_body,
    request_length,
)
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import ApiError
from prefect_cvat.models import LabeledData
from prefect_cvat.upload.annotation_files import NewAnnotation
from prefect_cvat.upload.job_writer import JobWriter
from prefect_cvat.upload.sending.job_requests import UNKNOWN_OUTCOME, seconds_until_certain
from prefect_cvat.upload.sending.parallel_jobs import for_each_job
from prefect_cvat.upload.sending.unknown_outcomes import PendingRequest

__all__ = ["TaskSender"]

logger = logging.getLogger(__name__)

MAX_FAILURES = 3
"""Number of requests of unknown outcome after which the jobs are written to one by one."""


class TaskSender:
    """Sends tags and shapes to several jobs of a task in one request.

    Each job treats this as a request of its own: it is in the ledger, the record and the lock of the job, and
    if its outcome is unknown, the job is read to find it out. So a retry may write to the task or to a job.

    Tracks are sent to their jobs: CVAT splits and changes tracks sent to a task.

    Args:
        client: The server.
        task_id: The id of the task.
        retry_delay: Seconds before jobs are read after a request of unknown outcome.
        late_commit_seconds: See `seconds_until_certain`.

    Attributes:
        is_usable: Whether it may still send requests to the task: none was refused.
    """

    def __init__(
        self, client: Client, task_id: int, *, retry_delay: float, late_commit_seconds: float
    ) -> None:
        self.is_usable = True
        self._client = client
        self._task_id = task_id
        self._retry_delay = retry_delay
        self._late_commit_seconds = late_commit_seconds
        self._failures = 0
        self._lock = threading.Lock()

    def send(self, writers: Sequence[JobWriter]) -> Sequence[JobWriter]:
        """Send the unsent annotations of several jobs, as many as fit in one request.

        Args:
            writers: The jobs, in the order of their frames. They do not overlap.

        Returns:
            The jobs to write to one by one: the server refused the request, its outcome was unknown at first,
            that of an earlier one still is, or there are tracks.

        Raises:
            UploadError: The server stored something other than what was sent.
            PrefectCvatError: The outcome for a job cannot be determined.
        """
        with self._lock, ExitStack() as locks:
            for writer in writers:
                locks.enter_context(writer.lock)
            alone: list[JobWriter] = []
            together: list[JobWriter] = []
            for writer in writers:
                (alone if writer.has_unsent_tracks or writer.sender.unsettled else together).append(writer)
            parts = _parts(together)
            return [*alone, *(self._send(parts) if parts else ())]

    def _send(self, parts: Sequence[tuple[JobWriter, Sequence[NewAnnotation]]]) -> Sequence[JobWriter]:
        writers = [writer for writer, _ in parts]
        requests: list[PendingRequest] = []
        try:
            for writer, part in parts:
                requests.append(writer.sender.begin(part, writer.unsent))
        except BaseException:
            self._withdraw(writers, requests)
            raise
        try:
            answer = self._create(parts)
        except UNKNOWN_OUTCOME as error:
            self._find_out(writers, requests, error)
            return writers
        except ApiError as error:
            logger.info("task %d: %s; its jobs are written to one by one", self._task_id, error)
            self.is_usable = False
            self._withdraw(writers, requests)
            return writers
        self._accept(writers, requests, each_annotation(answer))
        return ()

    def _create(self, parts: Sequence[tuple[JobWriter, Sequence[NewAnnotation]]]) -> LabeledData:
        try:
            return self._client.create_task_annotations(
                self._task_id, request_body(each.body for _, part in parts for each in part)
            )
        finally:
            now = time.monotonic()
            for writer, _ in parts:
                writer.sender.last_write = now

    def _withdraw(self, writers: Iterable[JobWriter], requests: Iterable[PendingRequest]) -> None:
        for writer, request in zip(writers, requests, strict=False):  # some may not have begun
            writer.sender.withdraw(request)

    def _find_out(
        self, writers: Sequence[JobWriter], requests: Sequence[PendingRequest], error: Exception
    ) -> None:
        """Find out what a request of unknown outcome has stored in each job."""
        self._failures += 1
        self.is_usable = self._failures < MAX_FAILURES
        seconds = seconds_until_certain(error, self._late_commit_seconds)
        if seconds is None:
            self._withdraw(writers, requests)
            return
        logger.warning("task %d: %s; reading the jobs to see what was stored", self._task_id, error)
        for writer, request in zip(writers, requests, strict=True):
            writer.sender.note_unknown(request, seconds)
        first, *others = writers
        first.sender.settle(self._retry_delay)
        # the request is executed completely or not at all: once the first job has it, the others do
        for_each_job(lambda writer: writer.sender.settle(0.0), others)

    def _accept(
        self,
        writers: Sequence[JobWriter],
        requests: Sequence[PendingRequest],
        answer: Iterable[ServerAnnotation],
    ) -> None:
        """Group stored annotations by job, and compare them with those sent."""
        starts = [writer.job.start_frame for writer in writers]
        by_place: list[list[ServerAnnotation]] = [[] for _ in writers]
        for kind, annotation in answer:
            place = max(bisect_right(starts, annotation["frame"]) - 1, 0)
            by_place[place].append((kind, annotation))
        stored = [writer.sender.note_answer(of_job) for writer, of_job in zip(writers, by_place, strict=True)]
        for writer, request, of_job in zip(writers, requests, stored, strict=True):
            writer.sender.accept(request, of_job)


def _parts(writers: Sequence[JobWriter]) -> list[tuple[JobWriter, Sequence[NewAnnotation]]]:
    """The jobs of the next request, each with its annotations in the request."""
    max_count = JobWriter.max_annotations
    numbered = (
        (number, annotation.body) for number, writer in enumerate(writers) for annotation in writer.unsent
    )
    taken = list(islice(numbered, max_count + 1))
    if not taken:
        return []
    length = request_length([body for _, body in taken], max_count, JobWriter.max_bytes)
    parts = []
    for number, of_job in groupby(taken[:length], key=lambda item: item[0]):
        parts.append((writers[number], writers[number].unsent[: sum(1 for _ in of_job)]))
    return parts
