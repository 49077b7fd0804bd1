"""Finds detections that are annotated already, so that a run does not add them again."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.cvat.client import Client
from prefect_cvat.files.lines_by_frame import FRAMES_OF_GROUP, LinesByFrame
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.geometry.iou import ComparableShape
from prefect_cvat.models import Job, is_manual
from prefect_cvat.options.existing_annotation_options import ExistingSource
from prefect_cvat.planning.plan import Batch, Plan

__all__ = ["ExistingAnnotations", "ExistingOnFrame"]

PARTS = 64
"""Maximum number of parts into which the tracks of a job are split: one is read at a time."""


class ExistingOnFrame:
    """The existing annotations on one frame.

    Args:
        frame: The frame.
        min_iou: The minimum IoU from which two shapes with the same label are the same object.
        jobs: The ids of the jobs that contain the frame. An automatic annotation is compared only if all
            of them have it: a killed run may have written a frame to one job and not to the other.
    """

    def __init__(self, frame: Frame, min_iou: float, jobs: Iterable[int]) -> None:
        self._manual = _Annotations(frame, min_iou)
        self._by_job = {job_id: _Annotations(frame, min_iou) for job_id in jobs}

    def add(self, job_id: int, annotation: Mapping[str, Any]) -> None:
        """Add a tag or a shape of a job."""
        self._by_job[job_id].add(annotation)
        if is_manual(annotation):
            self._manual.add(annotation)

    def include(self, annotation: Mapping[str, Any]) -> bool:
        """Whether there is a tag with the same label, or a shape with the same label and enough IoU."""
        return self._manual.include(annotation) or all(
            of_job.include(annotation) for of_job in self._by_job.values()
        )


class _Annotations:
    """Annotations on a frame, by label."""

    def __init__(self, frame: Frame, min_iou: float) -> None:
        self._frame = frame
        self._min_iou = min_iou
        self._tags: set[int] = set()
        self._shapes: dict[int, list[ComparableShape]] = {}

    def add(self, annotation: Mapping[str, Any]) -> None:
        label_id = annotation["label_id"]
        if "type" in annotation:
            self._shapes.setdefault(label_id, []).append(ComparableShape(annotation, self._frame))
        else:
            self._tags.add(label_id)

    def include(self, annotation: Mapping[str, Any]) -> bool:
        label_id = annotation["label_id"]
        if "type" not in annotation:
            return label_id in self._tags
        shapes = self._shapes.get(label_id)
        if not shapes:
            return False
        shape = ComparableShape(annotation, self._frame)
        return any(shape.iou(other) >= self._min_iou for other in shapes)


class ExistingAnnotations:
    """The existing annotations in the jobs of a plan. It can be used by several threads.

    Each job is read once, for the first batch with frames of it, and released after the last such batch.
    Until then its annotations are on disk. Tracks are interpolated only on the frames of a batch.

    Args:
        client: The server.
        plan: The frames to annotate, and the jobs.
        min_iou: The minimum IoU from which two shapes with the same label are the same object.
        source: Which existing annotations to compare with: manual, automatic, or all.
    """

    def __init__(
        self,
        client: Client,
        plan: Plan,
        min_iou: float,
        source: ExistingSource = ExistingSource.MANUAL,
    ) -> None:
        self._source = source
        self._client = client
        self._plan = plan
        self._min_iou = min_iou
        self._lock = threading.Lock()
        self._jobs: dict[int, _JobAnnotations] = {}

    def read(self, batch: Batch) -> None:
        """Read the annotations of the jobs of a batch that have not been read yet.

        Raises:
            PrefectCvatError: A request to the server failed.
        """
        with self._lock:
            for job in self._plan.jobs_between(batch.frames[0].number, batch.frames[-1].number):
                if job.id not in self._jobs:
                    self._jobs[job.id] = _JobAnnotations(self._client, self._plan, job, self._source)

    def take(self, batch: Batch) -> dict[int, ExistingOnFrame]:
        """The existing annotations on the frames of a batch that was read, by frame; they are released."""
        jobs = self._plan.jobs_between(batch.frames[0].number, batch.frames[-1].number)
        on_frames = {
            frame.number: ExistingOnFrame(
                frame,
                self._min_iou,
                [job.id for job in jobs if job.start_frame <= frame.number <= job.stop_frame],
            )
            for frame in batch.frames
        }
        with self._lock:
            for job in jobs:
                self._jobs[job.id].take(on_frames)
        return on_frames


class _JobAnnotations:
    """The existing annotations of one job: on disk, tracks in parts, each with some of the frames."""

    def __init__(self, client: Client, plan: Plan, job: Job, source: ExistingSource) -> None:
        self._job_id = job.id
        self._first, self._last = job.start_frame, job.stop_frame
        self._frame_count = plan.frames.count_between(self._first, self._last)
        self._taken: dict[int, int] = {}
        self._lines = LinesByFrame()
        self._tracks = LinesByFrame()
        self._part_length = max(FRAMES_OF_GROUP, -(-(self._last + 1 - self._first) // PARTS))
        for kind, annotation in client.iter_job_annotations(job.id):
            if not source.includes(annotation):
                continue
            if kind == "tracks":
                self._add_track(annotation)
            elif plan.frames.has(annotation["frame"]):
                self._lines.add(annotation["frame"], to_json(annotation))

    def take(self, on_frames: Mapping[int, ExistingOnFrame]) -> None:
        numbers = [number for number in on_frames if self._first <= number <= self._last]
        for number in numbers:
            for content in self._lines.of(number):
                on_frames[number].add(self._job_id, from_json(content))
        for part, of_part in groupby(sorted(numbers), self._part_of):
            here = list(of_part)
            for content in self._tracks.of(part * FRAMES_OF_GROUP):
                track = from_json(content)
                for number in here:
                    if (shape := interpolate(track, number)) is not None:
                        on_frames[number].add(self._job_id, shape)
        if numbers:
            self._taken[numbers[0]] = len(numbers)  # a batch may be taken again on a retry
        if sum(self._taken.values()) == self._frame_count:
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
