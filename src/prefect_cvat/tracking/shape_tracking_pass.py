"""Tracks source shapes over the frames of a task in one direction."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from math import inf
from typing import Any

import numpy as np
import PIL.Image

from prefect_cvat.auto_annotation.interface import TrackingFunction
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_tracker import ShapeToTrack, ShapeTracker
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.planning.plan import Plan
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.tracking.source_shapes import SourceShapes

__all__ = ["TrackedShape", "TrackedShapes", "TrackingPass", "tracking_passes"]

TrackedShape = tuple[int, bool, dict[str, Any]]
"""The index of an object, whether the shape is a source shape, and the shape as a JSON object."""


class TrackedShapes:
    """The tracked shapes on a frame. Not a dataclass, which Prefect would traverse."""

    __slots__ = ("frame", "shapes")

    def __init__(self, frame: int, shapes: list[TrackedShape]) -> None:
        self.frame = frame
        self.shapes = shapes


class TrackingPass:
    """A pass over the frames, forward or backward.

    Args:
        function: The tracking function.
        frames: The frames of the pass, in ascending order.
        sources: The source shapes. Objects with a track of an earlier run are not tracked.
        is_backward: Track in descending order of frames.
        first_only: Track each object from its first source shape only.
        returns_sources: Return source shapes in addition to tracked shapes.

    Attributes:
        lost: Number of lost shapes.
        clippings: Number of tracked shapes that were clipped, outside the image, or empty.
    """

    def __init__(
        self,
        function: TrackingFunction[Any, Any],
        frames: PlannedFrames,
        sources: SourceShapes,
        *,
        is_backward: bool,
        first_only: bool = False,
        returns_sources: bool = True,
    ) -> None:
        self.is_backward = is_backward
        self.frames = frames
        self.lost = 0
        self._tracker = ShapeTracker(function)
        self.clippings = self._tracker.clippings
        self._sources = sources
        self._first_only = first_only
        self._returns_sources = returns_sources
        self._active: dict[Hashable, tuple[int, dict[str, Any]]] = {}
        starts = sources.frames_to_track_from(first_only=first_only)
        self._starts = np.sort(-starts.astype(np.int64) if is_backward else starts.astype(np.int64))
        self._position = -inf
        self._needed_from: float = self._starts[0]

    def parts(self, part_of: Callable[[int], tuple[int, int]]) -> Iterator[tuple[int, PlannedFrames]]:
        """The parts of chunks in the order of the pass, each with the number of its chunk.

        Args:
            part_of: The number of the chunk that a frame is taken from, and that of its part.
        """
        parts = self.frames.by(part_of, is_backward=self.is_backward)
        return ((chunk, frames) for (chunk, _), frames in parts)

    def track(self, frame: Frame, image: PIL.Image.Image) -> TrackedShapes:
        """Track all active shapes to the next frame, and start to track the source shapes on it."""
        starting: dict[Hashable, tuple[int, dict[str, Any]]] = {}
        for source in self._sources.on_frame(frame.number):
            if self._sources.is_in_track[source.object]:
                continue
            if not self._first_only or self._sources.is_first(source.index):
                starting[self._sources.number(source.object)] = source.object, source.shape
        new = [
            ShapeToTrack(number, shape["type"], shape["points"], shape.get("rotation") or 0.0)
            for number, (_, shape) in starting.items()
        ]
        before = set(self._tracker.active)
        found = self._tracker.advance(frame, image, new)
        active = set(self._tracker.active)
        self.lost += len(before - active)
        shapes: list[TrackedShape] = []
        for key, shape in found:
            index, source_shape = self._active[key]
            shapes.append((index, False, _shape(source_shape, shape.points)))
        if self._returns_sources:
            shapes += [(index, True, _shape(shape, shape["points"])) for index, shape in starting.values()]
        self._active = {key: value for key, value in self._active.items() if key in active} | starting
        self._position = self._order(frame.number)
        return TrackedShapes(frame.number, shapes)

    def update_needs(self) -> None:
        """Update the position that `needs` uses from another thread."""
        if self._tracker.active:
            self._needed_from = -inf
        else:
            place = int(np.searchsorted(self._starts, self._position, side="right"))
            self._needed_from = self._starts[place] if place < len(self._starts) else inf

    def needs(self, frames: Sequence[Frame]) -> bool:
        """Whether a shape may have to be tracked over the next frames."""
        return max(self._order(frames[0].number), self._order(frames[-1].number)) >= self._needed_from

    def _order(self, frame: int) -> int:
        return -frame if self.is_backward else frame


def tracking_passes(
    function: TrackingFunction[Any, Any], plan: Plan, sources: SourceShapes, options: ShapeTrackingOptions
) -> list[TrackingPass]:
    """The passes over the frames, each from its first source shape to the end; backward comes first.

    Args:
        function: The tracking function.
        plan: Which frames are selected.
        sources: The source shapes; one of them at least is in no track.
        options: Whether shapes are tracked forward, backward or both, and how far.
    """
    direction, until = options.direction, options.until
    passes = []
    if direction != "forward":
        # both: an object is tracked from each source shape to the next, and backward from the first
        first_only = direction == "both"
        last = int(sources.frames_to_track_from(first_only=first_only)[-1])
        passes.append(
            TrackingPass(
                function,
                plan.frames_between(0 if until is None else until, last),
                sources,
                is_backward=True,
                first_only=first_only,
                returns_sources=direction == "backward",
            )
        )
    if direction != "backward":
        first = int(sources.frames_to_track_from(first_only=True)[0])
        frames = plan.frames_between(first, plan.info.meta.size - 1 if until is None else until)
        passes.append(TrackingPass(function, frames, sources, is_backward=False))
    return passes


def _shape(source: dict[str, Any], points: Sequence[float]) -> dict[str, Any]:
    """A copy of a source shape with other points."""
    return {
        "type": source["type"],
        "label_id": source["label_id"],
        "points": points,
        "rotation": source.get("rotation") or 0.0,
        "occluded": source.get("occluded"),
        "z_order": source.get("z_order"),
        "attributes": source.get("attributes") or [],
    }
