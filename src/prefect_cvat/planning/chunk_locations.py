"""Locations of chunks: chunks of the task, or of its jobs, whose first chunk begins with the job."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from prefect_cvat.models import Job

__all__ = ["ChunkPlace", "ChunkPlaces", "JobChunks", "TaskChunks"]


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """A chunk, as the server addresses it.

    Attributes:
        first_frame: The relative number of its first frame.
        length: Its number of frames, deleted ones included.
        index: Its number in the task, or, if a job is named, in the job.
        job: The job to ask; None for the task.
    """

    first_frame: int
    length: int
    index: int
    job: int | None = None


class ChunkPlaces(Protocol):
    """The chunks of a task, each with a number of its own."""

    def number_of(self, frame: int) -> int:
        """The chunk that a frame is taken from."""
        ...

    def place(self, number: int) -> ChunkPlace:
        """The location of a chunk, by its number."""
        ...


class TaskChunks:
    """The chunks of a task: they run across the borders of its jobs.

    Args:
        size: Number of frames in the task.
        chunk_size: Number of frames in a chunk; the last one may have fewer.
    """

    def __init__(self, size: int, chunk_size: int) -> None:
        self._size = size
        self._chunk_size = chunk_size

    def number_of(self, frame: int) -> int:
        """The chunk that a frame is taken from."""
        return frame // self._chunk_size

    def place(self, number: int) -> ChunkPlace:
        """The location of a chunk, by its number."""
        first = number * self._chunk_size
        return ChunkPlace(first, min(self._chunk_size, self._size - first), number)


class JobChunks:
    """The chunks of some jobs of a task. A frame that two of them share is taken from the first.

    Args:
        jobs: The jobs.
        chunk_size: Number of frames in a chunk; the last one of each job may have fewer.
    """

    def __init__(self, jobs: Iterable[Job], chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._begins: list[int] = []
        """The first frame that is fetched from each job, in ascending order."""
        self._jobs: list[Job] = []
        """The same jobs."""
        self._numbers: list[int] = []
        """The numbers of their first chunks."""
        number = 0
        reached = -1
        for job in sorted(jobs, key=lambda job: (job.start_frame, job.id)):
            if job.stop_frame <= reached:
                continue
            self._begins.append(max(job.start_frame, reached + 1))
            self._jobs.append(job)
            self._numbers.append(number)
            reached = job.stop_frame
            number += len(range(job.start_frame, job.stop_frame + 1, chunk_size))

    def number_of(self, frame: int) -> int:
        """The chunk that a frame is taken from. The frame is one of the jobs'."""
        place = bisect_right(self._begins, frame) - 1
        return self._numbers[place] + (frame - self._jobs[place].start_frame) // self._chunk_size

    def place(self, number: int) -> ChunkPlace:
        """The location of a chunk, by its number."""
        place = bisect_right(self._numbers, number) - 1
        job, index = self._jobs[place], number - self._numbers[place]
        first = job.start_frame + index * self._chunk_size
        return ChunkPlace(first, min(self._chunk_size, job.stop_frame + 1 - first), index, job.id)
