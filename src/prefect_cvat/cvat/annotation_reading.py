"""Reads the annotations of several jobs of a task to disk: in one request for the task, or job by job."""

from __future__ import annotations

import logging
import shutil
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import (
    ApiError,
    InvalidResponseError,
    RequestTimeoutError,
    StorageError,
)
from prefect_cvat.files.spooled_file import MemoryShare, SpooledFile
from prefect_cvat.models import Job

__all__ = ["PARALLEL_REQUESTS", "AnnotationReading", "is_task_refused"]

logger = logging.getLogger(__name__)

PARALLEL_REQUESTS = 4
"""Number of jobs that are read or written at a time."""

MAX_TASK_BYTES = 2**30
"""Maximum size of the annotations of a task in one response, in bytes. Larger tasks are read job by job."""

MAX_KEPT_BYTES = 2**28
"""Maximum size in bytes of annotations kept on disk after reading."""

LINE_ITEMS = 200
"""Maximum number of annotations parsed at a time."""

Items = Iterator[tuple[str, dict[str, Any]]]
"""Annotations, each with its kind, as from `Client.iter_job_annotations`."""


def is_task_refused(error: Exception) -> bool:
    """Whether requests for the jobs may succeed after a failed request for the annotations of the task.

    The server or its proxy refused it, took too long, or sent too much.
    """
    return isinstance(error, ApiError | InvalidResponseError | RequestTimeoutError)


class AnnotationReading:
    """The annotations of jobs of a task at one time.

    Tracks are always read from their job: in the annotations of a task, CVAT 2.73 ends each track after its
    job, with a keyframe that the job does not have.

    Args:
        client: The server.
        task_id: The id of the task.
        jobs: Jobs of the task.
        folder: The folder for the files; created here, and removed by `close`.
        is_whole: Whether one request for the task may replace those for its jobs, which must not overlap.

    Attributes:
        began: The time (`time.monotonic`) before the first request.
        is_whole: The argument; False after the server has refused the request for the task.
        with_tracks: The ids of the jobs with tracks in the response for the task.
    """

    def __init__(
        self, client: Client, task_id: int, jobs: Sequence[Job], folder: Path, *, is_whole: bool
    ) -> None:
        self.began = time.monotonic()
        self.is_whole = is_whole
        self.with_tracks: set[int] = set()
        self._client = client
        self._task_id = task_id
        self._jobs = jobs
        self._folder = folder
        self._kept: set[int] = set()
        self._share = MemoryShare()
        self._files: dict[int, SpooledFile] = {}

    @property
    def kept(self) -> Collection[int]:
        """The ids of the jobs that can be iterated again without a request."""
        return self._kept

    def each(self, job_ids: Collection[int] | None = None) -> Iterator[tuple[int, Items]]:
        """Iterate over jobs: yield the id of each, with its annotations.

        Args:
            job_ids: The ids of the jobs; None for all. Those not in `kept` are read; all other jobs are no
                longer kept.

        Raises:
            StorageError: The annotations cannot be written to disk.
            PrefectCvatError: A request to the server failed.
        """
        jobs = [job for job in self._jobs if job_ids is None or job.id in job_ids]
        if all(job.id in self._kept for job in jobs):
            yield from ((job.id, self._held(job.id).items()) for job in jobs)
            return
        self._make_folder()
        if self.is_whole:
            self._read_task()
        yield from self._read_jobs(jobs)

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._kept.clear()
        self._files.clear()
        self._share = MemoryShare()

    def _read_task(self) -> None:
        """Read the task, and split its annotations by job."""
        jobs = sorted(self._jobs, key=lambda job: job.start_frame)
        starts = [job.start_frame for job in jobs]
        try:
            annotations = self._client.iter_task_annotations(
                self._task_id, max_bytes=MAX_TASK_BYTES, is_repeated_when_slow=False
            )
            for place, kind, items in _by_place(annotations, starts):
                job = jobs[place]
                if kind == "tracks":
                    self.with_tracks.add(job.id)
                else:
                    self._held(job.id).extend(kind, items)
        except Exception as error:
            if not is_task_refused(error):
                raise
            logger.info("task %d: %s; its jobs are read one by one", self._task_id, error)
            self.is_whole = False

    def _read_jobs(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Items]]:
        """Iterate over the jobs; read those not read with the task, several at a time."""
        alone = iter([job for job in jobs if not self.is_whole or job.id in self.with_tracks])
        kept_bytes = 0
        with ThreadPoolExecutor(PARALLEL_REQUESTS, thread_name_prefix="read") as pool:
            ahead: deque[tuple[int, Future[None]]] = deque()

            def read_ahead() -> None:
                while len(ahead) < PARALLEL_REQUESTS and (job := next(alone, None)) is not None:
                    ahead.append((job.id, pool.submit(self._read_job, job.id)))

            for job in jobs:
                read_ahead()
                held = self._held(job.id)
                if ahead and ahead[0][0] == job.id:
                    ahead.popleft()[1].result()
                    read_ahead()
                yield job.id, held.items()
                kept_bytes += held.size
                if kept_bytes > MAX_KEPT_BYTES:
                    held.remove()
                else:
                    self._kept.add(job.id)

    def _read_job(self, job_id: int) -> None:
        held = self._held(job_id)
        held.remove()
        for _, kind, items in _by_place(self._client.iter_job_annotations(job_id), ()):
            held.extend(kind, items)

    def _held(self, job_id: int) -> _HeldAnnotations:
        file = self._files.get(job_id)
        if file is None:
            file = self._files[job_id] = SpooledFile(self._folder / str(job_id), self._share)
        return _HeldAnnotations(file)

    def _make_folder(self) -> None:
        self.close()
        self.with_tracks.clear()
        try:
            self._folder.mkdir()
        except OSError as error:
            raise StorageError(f"the folder {self._folder} cannot be created: {error}") from error


class _HeldAnnotations:
    """The annotations of one job in a file: each line has a kind and several annotations."""

    def __init__(self, file: SpooledFile) -> None:
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    def extend(self, kind: str, items: Sequence[dict[str, Any]]) -> None:
        try:
            self._file.append(b"%b %b\n" % (kind.encode(), to_json(items)))
        except OSError as error:
            raise StorageError(f"annotations cannot be written to {self._file.path}: {error}") from error

    def items(self) -> Items:
        for line in self._file.lines():
            kind, items = line.split(b" ", 1)
            for item in from_json(items):
                yield kind.decode(), item

    def remove(self) -> None:
        self._file.clear()


def _by_place(
    annotations: Iterable[tuple[str, dict[str, Any]]], starts: Sequence[int]
) -> Iterator[tuple[int, str, list[dict[str, Any]]]]:
    """Group consecutive annotations of the same kind that begin in the same range of frames.

    Args:
        annotations: The annotations.
        starts: The first frame of each range, ascending.

    Yields:
        The index of the range, from 0; the kind; the annotations.
    """
    together: list[dict[str, Any]] = []
    before: tuple[int, str] | None = None
    for kind, annotation in annotations:
        here = max(bisect_right(starts, annotation["frame"]) - 1, 0), kind
        if before is not None and (here != before or len(together) == LINE_ITEMS):
            yield *before, together
            together = []
        before = here
        together.append(annotation)
    if before is not None:
        yield *before, together
