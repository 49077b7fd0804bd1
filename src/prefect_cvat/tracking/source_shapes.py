"""The source shapes of a tracking run, grouped into objects.

A shape to track is a *source shape*. Overlapping jobs each have a copy of it, with different ids; copies are
one source shape. Source shapes of the same nonzero group, label and type on different frames of a job are
keyframes of one object. If a frame has several shapes of a group, the group does not identify an object, and
each of its shapes is an object of its own.

A task may have 100,000 source shapes. Their contents are on disk, by frame; their numbers are in arrays.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.models import Label

__all__ = ["COPY", "SourceShape", "SourceShapes"]

COPY = np.dtype(
    [
        ("digest", "<u8"),
        ("digest_rest", "<u4"),
        ("job", "<i8"),
        ("id", "<i8"),
        ("frame", "<u4"),
        ("label", "<i8"),
        ("group", "<i8"),
        ("type", "u1"),
        ("is_auto", "?"),
        ("is_in_track", "?"),
    ]
)
"""A copy of a shape in a job. `is_in_track`: it is a keyframe of a track of an earlier run."""

READ_TOGETHER = 1000
"""How many source shapes are read back from disk at a time."""

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class SourceShape:
    """A source shape with its content.

    Attributes:
        index: Its index among all source shapes.
        object: The index of its object.
        shape: The server's JSON object; its `id` is that of the first copy.
    """

    index: int
    object: int
    shape: dict[str, Any]


class SourceShapes:
    """Source shapes and their objects, about 100 bytes each. Thread-safe.

    Objects have indices in the order of their first frames; the source shapes of an object have consecutive
    indices, in ascending order of their frames.

    Args:
        copies: All copies of the shapes, as rows of `COPY`.
        contents: By frame: the row of each copy, and the server's JSON object.
        labels: The labels of the task, by id.
    """

    def __init__(self, copies: Numbers, contents: LinesByFrame, labels: Mapping[int, Label]) -> None:
        self._contents = contents
        self._contents_lock = threading.Lock()
        self._labels = labels
        by_digest = np.lexsort((copies["digest_rest"], copies["digest"]))  # a stable order of equal digests
        digests = copies[["digest", "digest_rest"]][by_digest]
        starts = np.flatnonzero(np.r_[len(copies) > 0, digests[1:] != digests[:-1]][: len(copies)])
        ends = np.r_[starts[1:], len(copies)].astype(np.int64)
        first = copies[by_digest[starts]]
        objects = _objects(copies, by_digest, starts)
        order = np.lexsort((by_digest[starts], first["frame"], objects))
        is_first = np.r_[len(order) > 0, objects[order][1:] != objects[order][:-1]][: len(order)]
        # order objects by their first frames
        run = np.cumsum(is_first) - 1
        heads = order[is_first]
        rank = np.empty(len(heads), np.int64)
        rank[np.lexsort((first["id"][heads], first["frame"][heads]))] = np.arange(len(heads))
        order = order[np.argsort(rank[run], kind="stable")]

        self._rows = by_digest[starts][order].astype(np.uint32)
        self.frames: Numbers = copies["frame"][self._rows]
        self._label_ids = copies["label"][self._rows]
        self._groups = copies["group"][self._rows]
        self._is_auto = copies["is_auto"][self._rows]
        self.objects: Numbers = np.sort(rank[run]).astype(np.uint32)
        object_starts = np.flatnonzero(np.r_[len(order) > 0, np.diff(self.objects) > 0][: len(order)])
        self._object_starts = np.r_[object_starts, len(order)].astype(np.uint32)
        lengths = (ends - starts)[order]
        self._copy_starts = np.r_[0, np.cumsum(lengths)].astype(np.uint32)
        within = np.arange(len(copies)) - np.repeat(self._copy_starts[:-1].astype(np.int64), lengths)
        copy_rows = by_digest[np.repeat(starts[order], lengths) + within]
        self._copy_jobs = copies["job"][copy_rows]
        self._copy_ids = copies["id"][copy_rows]
        is_in_tracks = _all_of(copies["is_in_track"][copy_rows], self._copy_starts[:-1])
        self.is_in_track: Numbers = _all_of(is_in_tracks, self._object_starts[:-1])
        """`[objects]`: whether an earlier run has written the track, and may have removed source shapes."""
        self._by_frame = np.argsort(self.frames, kind="stable").astype(np.uint32)
        self._sorted_frames = self.frames[self._by_frame]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def object_count(self) -> int:
        """Number of objects."""
        return len(self._object_starts) - 1

    def on_frame(self, frame: int) -> list[SourceShape]:
        """The source shapes on a frame, in the order of their objects.

        Raises:
            StorageError: The shapes cannot be read from disk.
        """
        begin, end = np.searchsorted(self._sorted_frames, np.array([frame, frame + 1], np.uint32))
        wanted = self._by_frame[begin:end].tolist()
        if not wanted:
            return []
        with self._contents_lock:
            lines = self._contents.of(frame)
        shapes = dict(map(from_json, lines))
        return [SourceShape(i, int(self.objects[i]), shapes[int(self._rows[i])]) for i in wanted]

    def each(self, chosen: Numbers) -> Iterator[SourceShape]:
        """The source shapes of selected objects, in ascending order of frames.

        Args:
            chosen: `[objects]`: whether the object is selected.
        """
        for frame in np.unique(self.frames[chosen[self.objects]]).tolist():
            yield from (source for source in self.on_frame(frame) if chosen[source.object])

    def copies_by_job(self, chosen: Numbers) -> Iterator[dict[int, list[dict[str, Any]]]]:
        """The copies of source shapes of some objects, as the server returned them, by the job that has them.

        Args:
            chosen: For each object, whether it is one of them.

        Yields:
            The copies of the next `READ_TOGETHER` source shapes.
        """
        shapes = self.each(chosen)
        while some := list(islice(shapes, READ_TOGETHER)):
            by_job: dict[int, list[dict[str, Any]]] = {}
            for source in some:
                part = slice(int(self._copy_starts[source.index]), int(self._copy_starts[source.index + 1]))
                jobs, ids = self._copy_jobs[part].tolist(), self._copy_ids[part].tolist()
                for job_id, shape_id in zip(jobs, ids, strict=True):
                    by_job.setdefault(job_id, []).append({**source.shape, "id": shape_id})
            yield by_job

    def counts(self, *, in_tracks: bool) -> Counter[str]:
        """Number of source shapes by label name.

        Args:
            in_tracks: Count objects with tracks of an earlier run, or all others.
        """
        labels = self._label_ids[self.is_in_track[self.objects] == in_tracks]
        ids, counts = np.unique(labels, return_counts=True)
        return Counter(
            {self._labels[i].name: count for i, count in zip(ids.tolist(), counts.tolist(), strict=True)}
        )

    def is_first(self, index: int) -> bool:
        """Whether a source shape is the first of its object."""
        return int(self._object_starts[self.objects[index]]) == index

    def frames_to_track_from(self, *, first_only: bool) -> Numbers:
        """The frames with source shapes of objects without a track, ascending.

        Args:
            first_only: Consider only the first source shape of each object.
        """
        is_wanted = ~self.is_in_track[self.objects]
        if first_only:
            is_first = np.zeros(len(self), np.bool_)
            is_first[self._object_starts[:-1]] = True
            is_wanted &= is_first
        return np.unique(self.frames[is_wanted])

    def number(self, number: int) -> int:
        """The number of an object in messages: the id of its first source shape."""
        return int(self._copy_ids[self._copy_starts[self._object_starts[number]]])

    def last_frame(self, number: int) -> int:
        """The frame of the last source shape of an object."""
        return int(self.frames[self._object_starts[number + 1] - 1])

    def label(self, number: int) -> Label:
        """The label of an object."""
        return self._labels[int(self._label_ids[self._object_starts[number]])]

    def group(self, number: int) -> int:
        """The group of all source shapes of an object; 0 for none."""
        return int(self._groups[self._object_starts[number]])

    def source(self, number: int) -> str:
        """The source of the track of an object: `auto` if all of its source shapes are."""
        part = slice(self._object_starts[number], self._object_starts[number + 1])
        return "auto" if self._is_auto[part].all() else "semi-auto"

    def job_ids(self, number: int) -> set[int]:
        """The ids of jobs with a source shape of an object."""
        first, last = self._object_starts[number], self._object_starts[number + 1]
        return set(self._copy_jobs[self._copy_starts[first] : self._copy_starts[last]].tolist())


def _all_of(flags: Numbers, starts: Numbers) -> Numbers:
    """Whether all flags are set, for each segment that begins at one of `starts`."""
    return np.logical_and.reduceat(flags, starts.astype(np.int64)) if len(starts) else flags


def _objects(copies: Numbers, by_digest: Numbers, starts: Numbers) -> Numbers:
    """The object number of each source shape.

    Group numbers are local to a job: groups of two jobs are one object only if they share a source shape.

    Args:
        copies: All copies.
        by_digest: Rows of the copies, grouped by source shape.
        starts: For each source shape, the index in `by_digest` of its first row.
    """
    count = len(starts)
    shape_of = np.repeat(np.arange(count), np.diff(np.r_[starts, len(copies)].astype(np.int64)))
    is_grouped = copies["group"][by_digest] != 0
    if not is_grouped.any():
        return np.arange(count)
    keys = copies[["job", "group", "label", "type"]][by_digest[is_grouped]]
    distinct, key_of = np.unique(keys, return_inverse=True)
    parents = array("q", range(len(distinct)))

    def root(key: int) -> int:
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    grouped = shape_of[is_grouped]
    for place in np.flatnonzero(grouped[1:] == grouped[:-1]).tolist():  # copies of one source shape
        parents[root(int(key_of[place]))] = root(int(key_of[place + 1]))
    roots = np.fromiter(map(root, range(len(distinct))), np.int64, len(distinct))
    objects = np.arange(count)
    objects[grouped] = count + roots[key_of]
    # a group with several shapes on one frame does not identify an object
    frames = copies["frame"][by_digest[starts]]
    order = np.lexsort((frames, objects))
    is_twice = (np.diff(objects[order]) == 0) & (np.diff(frames[order].astype(np.int64)) == 0)
    separate = np.isin(objects, objects[order[1:][is_twice]])
    objects[separate] = np.flatnonzero(separate)
    return objects
