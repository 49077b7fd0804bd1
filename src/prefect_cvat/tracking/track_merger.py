"""Merges forward and backward tracking into CVAT tracks, on disk until all of them are complete.

No track is uploaded before that, so that an interrupted run can be recognized: see
`PlannedTrackShapesRun.finish_upload`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json, to_json

from prefect_cvat.annotations.request_bodies import json_size
from prefect_cvat.exceptions import StorageError
from prefect_cvat.geometry.bounding_box import BoundingBox, bounding_box
from prefect_cvat.models import Job
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.review.track_uncertainty import TrackEnd, TrackSummaries
from prefect_cvat.tracking.shape_tracking_pass import TrackedShape
from prefect_cvat.tracking.source_shapes import SourceShapes
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder

__all__ = ["TrackMerger", "TrackedShapesJson"]

TrackedShapesJson: TypeAlias = dict[str, Any]
"""The tracked shapes on a frame as JSON: `frame`, and `shapes`, a list of `TrackedShape`."""

PACK_BYTES = 4 * 2**20
"""Approximate number of bytes of tracks that are read from disk at a time."""


class TrackMerger:
    """Makes tracks of tracked shapes, with the source shapes as keyframes.

    Shapes of the backward pass, and complete tracks, are on disk. The backward pass is read in ascending
    order of frames while the forward pass adds its shapes. In memory are objects that are visible or have a
    later source shape.

    Args:
        jobs: The jobs to write to.
        sources: The source shapes.
        last_frame: The last frame of the task.
        tolerance: Maximum error of interpolation, in pixels.
        folder: A folder for temporary files.

    Attributes:
        is_written: For each object, whether it has become a track.
        keyframes: Number of visible keyframes of all tracks.
        frames: Total length of all tracks in frames, gaps included.
        lost: The frames on which objects were lost, in either direction.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        sources: SourceShapes,
        *,
        last_frame: int,
        tolerance: float,
        folder: Path,
    ) -> None:
        self.is_written: npt.NDArray[np.bool_] = np.zeros(sources.object_count, np.bool_)
        self.keyframes = 0
        self.frames = 0
        self.lost = TrackSummaries()
        self._jobs = jobs
        self._sources = sources
        self._folder = folder
        # a lost object may reappear with its next source shape, at any distance
        self._options = TrackOptions(min_length=1, max_gap=last_frame + 1, fill_gap=0, tolerance=tolerance)
        self._labels: Counter[str] = Counter()
        self._objects: dict[int, _ActiveObject] = {}
        self._visible: set[int] = set()
        self._backward: list[Path] = []
        self._earlier = self._read_backward()
        self._next_earlier: TrackedShapesJson | None = None
        self._is_merging = False

    def add_backward(self, items: Sequence[TrackedShapesJson]) -> None:
        """Store shapes of the backward pass, on frames before those of the previous call.

        Args:
            items: The shapes, in ascending order of their frames.
        """
        path = self._folder / f"backward-{len(self._backward)}.json"
        _append(path, to_json(items))
        self._backward.append(path)

    def add(self, items: Iterable[TrackedShapesJson]) -> None:
        """Add shapes of the forward pass, in ascending order of their frames."""
        for item in items:
            self._catch_up(item["frame"])
            shapes = item["shapes"]
            if self._next_earlier is not None and self._next_earlier["frame"] == item["frame"]:
                shapes = [*self._next_earlier["shapes"], *shapes]
                self._next_earlier = next(self._earlier, None)
            self._see(item["frame"], shapes)

    def finish(self) -> None:
        """Complete all tracks: there are no more frames."""
        self._catch_up(None)
        for each in list(self._objects.values()):
            self._end(each)

    def packs(self, *, with_sources: bool) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
        """Iterate over the tracks in packs: job id, number of the pack within the job, and tracks.

        Args:
            with_sources: Tracks in jobs that have a source shape of the object, or all other tracks.
        """
        for job in self._jobs:
            path = self._path(job.id, with_sources)
            if not path.exists():
                continue
            with path.open("rb") as lines:
                size, number, pack = 0, 0, []
                for line in lines:
                    track = from_json(line)
                    pack.append(track)
                    size += json_size(track)
                    if size > PACK_BYTES:
                        yield job.id, number, pack
                        size, number, pack = 0, number + 1, []
                yield job.id, number, pack

    def labels(self) -> dict[str, int]:
        """Number of tracks by label name."""
        return dict(self._labels)

    def _catch_up(self, frame: int | None) -> None:
        """Add shapes of the backward pass before a frame; all of them if it is None."""
        if not self._is_merging:
            self._is_merging = True
            self._next_earlier = next(self._earlier, None)
        while (item := self._next_earlier) is not None and (frame is None or item["frame"] < frame):
            self._see(item["frame"], item["shapes"])
            self._next_earlier = next(self._earlier, None)

    def _read_backward(self) -> Iterator[TrackedShapesJson]:
        for path in reversed(self._backward):
            yield from from_json(path.read_bytes())

    def _see(self, frame: int, found: Iterable[TrackedShape]) -> None:
        shapes: dict[int, dict[str, Any]] = {}
        drawn: set[int] = set()
        for index, is_source, shape in found:
            each = self._objects.get(index)
            if each is None:
                each = self._objects[index] = self._new_object(index)
            if is_source:
                drawn.add(index)
                shapes[index] = shape
            else:
                each.is_tracked = True
                if index not in drawn:
                    shapes[index] = shape
        for index in sorted(self._visible | shapes.keys()):
            each = self._objects[index]
            if index in shapes:
                box = bounding_box(shapes[index])
                if index not in self._visible and index not in drawn:
                    self.lost.add_end(TrackEnd(frame, "begins", each.label_id, box))
                each.see(frame, box)
            elif each.is_tracked and each.box is not None:
                self.lost.add_end(TrackEnd(each.last, "ends", each.label_id, each.box))
            each.assembler.add(frame, [(index, shapes[index])] if index in shapes else [], drawn)
            if index in shapes:
                self._visible.add(index)
                self._keep(each)
            elif frame > self._sources.last_frame(index):
                self._end(each)
            else:
                self._visible.discard(index)
                self._keep(each)

    def _new_object(self, index: int) -> _ActiveObject:
        label = self._sources.label(index)
        return _ActiveObject(index, label.id, TrackBuilder(self._jobs, self._options, [label]))

    def _end(self, each: _ActiveObject) -> None:
        each.assembler.finish()
        self._keep(each)
        self.frames += each.length if each.is_tracked else 0
        self._visible.discard(each.index)
        del self._objects[each.index]

    def _keep(self, each: _ActiveObject) -> None:
        """Write complete parts of a track to disk, if the object was tracked to any frame."""
        for job_id, track in each.assembler.take():
            track["source"] = self._sources.source(each.index)
            track["group"] = self._sources.group(each.index)
            each.waiting.append((job_id, track))
        if not each.is_tracked or not each.waiting:
            return
        if not self.is_written[each.index]:
            self.is_written[each.index] = True
            self._labels[self._sources.label(each.index).name] += 1
        job_ids = self._sources.job_ids(each.index)
        for job_id, track in each.waiting:
            _append(self._path(job_id, job_id in job_ids), to_json(track) + b"\n")
            self.keyframes += sum(not shape["outside"] for shape in track["shapes"])
        each.waiting.clear()

    def _path(self, job_id: int, with_sources: bool) -> Path:
        return self._folder / f"tracks-{job_id}-{'with' if with_sources else 'without'}-sources.jsonl"


class _ActiveObject:
    """An object that is visible or has a later source shape."""

    __slots__ = ("assembler", "box", "first", "index", "is_tracked", "label_id", "last", "waiting")

    def __init__(self, index: int, label_id: int, assembler: TrackBuilder) -> None:
        self.index = index
        self.label_id = label_id
        self.assembler = assembler
        self.box: BoundingBox | None = None
        self.is_tracked = False
        self.first: int | None = None
        self.last = 0
        self.waiting: list[tuple[int, dict[str, Any]]] = []

    @property
    def length(self) -> int:
        return 0 if self.first is None else self.last - self.first + 1

    def see(self, frame: int, box: BoundingBox) -> None:
        self.first = frame if self.first is None else self.first
        self.last = frame
        self.box = box


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise StorageError(f"tracks cannot be written to {path}: {error}") from error
