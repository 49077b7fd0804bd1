"""Reads the annotations that a task has before the run, job by job, and gives them out by frame."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.cvat.client import Client
from prefect_cvat.files.lines_by_frame import FRAMES_OF_GROUP, LinesByFrame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job
from prefect_cvat.planning.plan import Batch, Plan

__all__ = ["AnnotationsByFrame"]

PARTS = 64
"""Maximum number of parts into which the tracks of a job are split: one is read at a time."""


class AnnotationsByFrame:
    """The annotations in the jobs of a plan. It can be used by several threads.

    Each job is read once, for the first batch with frames of it, and released when all readers have taken the
    last such batch. Until then its annotations are on disk. Tracks are interpolated only on the frames of a
    batch.

    Args:
        client: The server.
        plan: The frames of the run, and the jobs.
        readers: How many readers take the annotations of each batch.
    """

    def __init__(self, client: Client, plan: Plan, readers: int = 1) -> None:
        self._client = client
        self._plan = plan
        self._readers = readers
        self._lock = threading.Lock()
        self._jobs: dict[int, _JobAnnotations] = {}

    def jobs_of(self, frame: int) -> list[int]:
        """The ids of the jobs that contain a frame."""
        return [job.id for job in self._plan.jobs_between(frame, frame)]

    def read(self, batch: Batch) -> None:
        """Read the annotations of the jobs of a batch that have not been read yet.

        Raises:
            PrefectCvatError: A request to the server failed.
        """
        with self._lock:
            for job in self._jobs_of_batch(batch):
                if job.id not in self._jobs:
                    self._jobs[job.id] = _JobAnnotations(self._client, self._plan, job, self._readers)

    def take(self, batch: Batch, reader: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The annotations on the frames of a batch that was read.

        Args:
            batch: The batch.
            reader: The name of the reader.

        Yields:
            The id of the job, the number of the frame, and a tag or a shape as the server's JSON object.
        """
        numbers = [frame.number for frame in batch.frames]
        with self._lock:
            for job in self._jobs_of_batch(batch):
                for number, annotation in self._jobs[job.id].take(numbers, reader):
                    yield job.id, number, annotation

    def _jobs_of_batch(self, batch: Batch) -> list[Job]:
        return list(self._plan.jobs_between(batch.frames[0].number, batch.frames[-1].number))


class _JobAnnotations:
    """The annotations of one job: on disk, tracks in parts, each with some of the frames."""

    def __init__(self, client: Client, plan: Plan, job: Job, readers: int) -> None:
        self._first, self._last = job.start_frame, job.stop_frame
        self._to_take = readers * plan.frames.count_between(self._first, self._last)
        self._taken: dict[tuple[str, int], int] = {}
        self._lines = LinesByFrame()
        self._tracks = LinesByFrame()
        self._part_length = max(FRAMES_OF_GROUP, -(-(self._last + 1 - self._first) // PARTS))
        for kind, annotation in client.iter_job_annotations(job.id):
            if kind == "tracks":
                self._add_track(annotation)
            elif plan.frames.has(annotation["frame"]):
                self._lines.add(annotation["frame"], to_json(annotation))

    def take(self, frames: Collection[int], reader: str) -> Iterator[tuple[int, dict[str, Any]]]:
        numbers = sorted(number for number in frames if self._first <= number <= self._last)
        for number in numbers:
            for content in self._lines.of(number):
                yield number, from_json(content)
        for part, of_part in groupby(numbers, self._part_of):
            here = list(of_part)
            for content in self._tracks.of(part * FRAMES_OF_GROUP):
                track = from_json(content)
                for number in here:
                    if (shape := interpolate(track, number)) is not None:
                        yield number, {**shape, "source": track.get("source")}
        if numbers:
            self._taken[reader, numbers[0]] = len(numbers)  # a batch may be taken again on a retry
        if sum(self._taken.values()) == self._to_take:
            self._tracks = LinesByFrame()
            self._lines = LinesByFrame()

    def _part_of(self, number: int) -> int:
        return (number - self._first) // self._part_length

    def _add_track(self, track: Mapping[str, Any]) -> None:
        begin = max(track["frame"], self._first)
        for part in range(self._part_of(begin), self._part_of(self._last) + 1):
            start = self._first + part * self._part_length
            of_part = _part(track, start, start + self._part_length)
            if not all(shape["outside"] for shape in of_part["shapes"]):
                # a separate group, so that it is read alone
                self._tracks.add(part * FRAMES_OF_GROUP, to_json(of_part))


def _part(track: Mapping[str, Any], begin: int, end: int) -> dict[str, Any]:
    """A track with only the keyframes that determine its frames from `begin` to before `end`."""
    frames = [shape["frame"] for shape in track["shapes"]]
    first = max(bisect_right(frames, begin) - 1, 0)
    shapes = track["shapes"][first : bisect_left(frames, end) + 1]
    elements = [_part(element, begin, end) for element in track.get("elements") or ()]
    return {**track, "shapes": shapes, "elements": elements}
