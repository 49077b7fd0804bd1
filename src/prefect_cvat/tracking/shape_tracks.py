"""From the shapes that were followed to tracks, which wait on disk until all of them are complete.

Waiting is what makes a run that was killed recognizable: see `TrackShapesRun.finish_upload`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from prefect_cvat.annotations.request_bodies import json_size
from prefect_cvat.exceptions import StorageError
from prefect_cvat.geometry.iou import BoundingBox, bounding_box
from prefect_cvat.models import Job
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.review.track_uncertainty import TrackEnd, TrackSummaries
from prefect_cvat.tracking.source_shapes import SourceShape, TrackedObject
from prefect_cvat.tracking.track_assembly import TrackAssembler

__all__ = ["Found", "FoundShape", "ShapeTracks"]

FoundShape: TypeAlias = tuple[int, int, list[float]]
"""The number of an object, the index of the seed that it was followed from, and where it was found."""

Found: TypeAlias = dict[str, Any]
"""What was found on a frame: `frame`, and `found`, a list of `FoundShape`. It becomes JSON."""

PACK_BYTES = 4 * 2**20
"""How many bytes of tracks, about, are read back at a time."""


class ShapeTracks:
    """Makes tracks of what was found, with the seeds as keyframes.

    What was found backwards is held on disk, and read again, the last first, as the frames ascend. So are
    the tracks. In memory are the objects and, of those that are visible, the keyframes in the job at hand.

    Args:
        jobs: The jobs to write to.
        objects: What was followed.
        last_frame: The last frame of the task.
        tolerance: Pixels by which interpolation may be off.
        folder: Where what waits may lie.

    Attributes:
        written: The objects that have become tracks.
        keyframes: How many keyframes they have on which they can be seen.
        frames: How many frames they are long, all together, gaps included.
        lost: Where an object was lost, on either way.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        objects: Iterable[TrackedObject],
        *,
        last_frame: int,
        tolerance: float,
        folder: Path,
    ) -> None:
        self.written: list[TrackedObject] = []
        self.keyframes = 0
        self.frames = 0
        self.lost = TrackSummaries()
        self._jobs = jobs
        self._folder = folder
        # what is lost is lost, but may come back with its next seed, however far that is
        self._options = TrackOptions(min_length=1, max_gap=last_frame + 1, fill_gap=0, tolerance=tolerance)
        self._objects = {each.number: _Object(each) for each in objects}
        self._beginning: dict[int, list[tuple[_Object, int]]] = {}
        for each in self._objects.values():
            for index, seed in enumerate(each.followed.seeds):
                self._beginning.setdefault(seed.frame, []).append((each, index))
        self._visible: set[int] = set()
        self._held: list[Path] = []
        self._earlier = self._read_held()
        self._next_earlier: Found | None = None
        self._is_merging = False

    def hold(self, items: Sequence[Found]) -> None:
        """Keep what was found backwards on some frames, which lie before those of the call before.

        Args:
            items: In ascending order of their frames.
        """
        path = self._folder / f"backward-{len(self._held)}.json"
        _append(path, to_json(items))
        self._held.append(path)

    def add(self, items: Iterable[Found]) -> None:
        """Take what was found on the frames that were looked at next, in ascending order."""
        for item in items:
            self._catch_up(item["frame"])
            found = item["found"]
            if self._next_earlier is not None and self._next_earlier["frame"] == item["frame"]:
                found = [*found, *self._next_earlier["found"]]
                self._next_earlier = next(self._earlier, None)
            self._see(item["frame"], found)

    def finish(self) -> None:
        """Say that there are no more frames."""
        self._catch_up(None)
        for each in list(self._objects.values()):
            self._end(each)

    def packs(self, *, with_seeds: bool) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
        """The tracks, some at a time: the id of their job, the number of the pack in it, and tracks.

        Args:
            with_seeds: Those in jobs that have a seed of the same object, or all others.
        """
        for job in self._jobs:
            path = self._path(job.id, with_seeds)
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
        """How many tracks of each label there are."""
        return dict(Counter(each.label.name for each in self.written))

    def _catch_up(self, frame: int | None) -> None:
        """Take what was found backwards before a frame; None for all of it."""
        if not self._is_merging:
            self._is_merging = True
            self._next_earlier = next(self._earlier, None)
        while (item := self._next_earlier) is not None and (frame is None or item["frame"] < frame):
            self._see(item["frame"], item["found"])
            self._next_earlier = next(self._earlier, None)

    def _read_held(self) -> Iterator[Found]:
        for path in reversed(self._held):
            yield from from_json(path.read_bytes())

    def _see(self, frame: int, found: Iterable[FoundShape]) -> None:
        shapes: dict[int, dict[str, Any]] = {}
        for number, index, points in found:
            each = self._objects[number]
            each.has_been_found = True
            shapes[number] = _shape(each.followed.seeds[index], points)
        drawn = set()
        for each, index in self._beginning.pop(frame, ()):
            seed = each.followed.seeds[index]
            shapes[each.followed.number] = _shape(seed, seed.shape["points"])
            drawn.add(each.followed.number)
        for number in sorted(self._visible | shapes.keys()):
            each = self._objects[number]
            assembler = each.assembler
            if assembler is None:
                assembler = each.assembler = TrackAssembler(self._jobs, self._options, [each.followed.label])
            if number in shapes:
                box = bounding_box(shapes[number])
                if number not in self._visible and number not in drawn:
                    self.lost.add_end(TrackEnd(frame, "begins", each.followed.label.id, box))
                each.see(frame, box)
            elif each.has_been_found and each.box is not None:
                self.lost.add_end(TrackEnd(each.last, "ends", each.followed.label.id, each.box))
            assembler.add(frame, [(number, shapes[number])] if number in shapes else [], drawn)
            if number in shapes:
                self._visible.add(number)
                self._keep(each)
            elif frame > each.followed.seeds[-1].frame:
                self._end(each)
            else:
                self._visible.discard(number)
                self._keep(each)

    def _end(self, each: _Object) -> None:
        if each.assembler is not None:
            each.assembler.finish()
            self._keep(each)
            self.frames += each.length if each.has_been_found else 0
        self._visible.discard(each.followed.number)
        del self._objects[each.followed.number]

    def _keep(self, each: _Object) -> None:
        """Put what has become complete of an object to what waits on disk, once it was found at all."""
        assert each.assembler is not None
        followed = each.followed
        for job_id, track in each.assembler.take():
            track["source"] = followed.source
            track["group"] = followed.group
            each.waiting.append((job_id, track))
        if not each.has_been_found or not each.waiting:
            return
        if not each.is_written:
            each.is_written = True
            self.written.append(followed)
        for job_id, track in each.waiting:
            _append(self._path(job_id, job_id in followed.job_ids), to_json(track) + b"\n")
            self.keyframes += sum(not shape["outside"] for shape in track["shapes"])
        each.waiting.clear()

    def _path(self, job_id: int, with_seeds: bool) -> Path:
        return self._folder / f"tracks-{job_id}-{'with' if with_seeds else 'without'}-seeds.jsonl"


class _Object:
    """What has become of an object so far."""

    __slots__ = ("assembler", "box", "first", "followed", "has_been_found", "is_written", "last", "waiting")

    def __init__(self, followed: TrackedObject) -> None:
        self.followed = followed
        self.assembler: TrackAssembler | None = None
        self.box: BoundingBox | None = None
        self.has_been_found = False
        self.is_written = False
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


def _shape(seed: SourceShape, points: Sequence[float]) -> dict[str, Any]:
    """The shape of a seed somewhere else."""
    shape: Mapping[str, Any] = seed.shape
    return {
        "type": shape["type"],
        "label_id": shape["label_id"],
        "points": points,
        "rotation": shape.get("rotation") or 0.0,
        "occluded": shape.get("occluded"),
        "z_order": shape.get("z_order"),
        "attributes": shape.get("attributes") or [],
    }


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise StorageError(f"tracks cannot be written to {path}: {error}") from error
