"""Finds the jobs of a range of frames without scanning all jobs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from prefect_cvat.models import Job

__all__ = ["JobIndex"]


class JobIndex:
    """Jobs of a task, searchable by frame. Jobs may overlap.

    Args:
        jobs: The jobs.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = sorted(enumerate(jobs), key=lambda item: item[1].start_frame)
        self._starts = [job.start_frame for _, job in self._jobs]
        # ascending, even if a job lies within another one
        self._reached = list(accumulate((job.stop_frame for _, job in self._jobs), max))

    def between(self, first: int, last: int) -> list[Job]:
        """The jobs with a frame between `first` and `last` (inclusive), in the original order."""
        begin, end = bisect_left(self._reached, first), bisect_right(self._starts, last)
        found = [(place, job) for place, job in self._jobs[begin:end] if job.stop_frame >= first]
        return [job for _, job in sorted(found, key=lambda item: item[0])]
