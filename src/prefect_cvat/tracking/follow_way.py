"""Following shapes over the frames of a task one way: which are taken up where, and how far it must go."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from math import inf
from typing import Any

import PIL.Image

from prefect_cvat.auto_annotation.interface import TrackingFunction
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_tracker import ShapeTracker, SourceShape
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.tracking.followed_tracks import FoundShape
from prefect_cvat.tracking.source_shapes import FollowedObject

__all__ = ["FoundOnFrame", "Way"]


class FoundOnFrame:
    """What was found on a frame. Plain, as `BatchDetections` is."""

    __slots__ = ("found", "frame")

    def __init__(self, frame: int, found: list[FoundShape]) -> None:
        self.frame = frame
        self.found = found


class Way:
    """One way over the frames, forward or backward, and what is followed on it.

    Args:
        function: The tracking function.
        frames: The frames from the first seed of the way on, in ascending order.
        seeds: Objects and indices of their seeds: where shapes are taken up.
        is_backward: Whether the last frame comes first.

    Attributes:
        lost: How many shapes have been lost.
        clippings: How many shapes that were found were cut, outside or empty.
    """

    def __init__(
        self,
        function: TrackingFunction[Any, Any],
        frames: PlannedFrames,
        seeds: Collection[tuple[FollowedObject, int]],
        *,
        is_backward: bool,
    ) -> None:
        self.is_backward = is_backward
        self.frames = frames
        self.lost = 0
        self._tracker = ShapeTracker(function)
        self.clippings = self._tracker.clippings
        self._seeds: dict[int, list[tuple[FollowedObject, int]]] = {}
        for each, index in seeds:
            self._seeds.setdefault(each.seeds[index].frame, []).append((each, index))
        self._stops = sorted(map(self._order, self._seeds))
        self._seed_of: dict[Hashable, tuple[int, int]] = {}
        self._at = -inf
        self._needed_from: float = self._stops[0]

    def parts(self, part_of: Callable[[int], tuple[int, int]]) -> Iterator[tuple[int, PlannedFrames]]:
        """The parts of chunks, as they are gone through, each with the number of its chunk.

        Args:
            part_of: The number of the chunk that a frame is taken from, and that of its part.
        """
        parts = self.frames.by(part_of, is_backward=self.is_backward)
        return ((chunk, frames) for (chunk, _), frames in parts)

    def look_at(self, frame: Frame, image: PIL.Image.Image) -> FoundOnFrame:
        """Follow what is followed to the next frame, and take up what begins there."""
        beginning = self._seeds.get(frame.number, ())
        before = set(self._tracker.active)
        seeds = []
        for each, index in beginning:
            shape = each.seeds[index].shape
            seeds.append(
                SourceShape(each.number, shape["type"], shape["points"], shape.get("rotation") or 0.0)
            )
        found = self._tracker.advance(frame, image, seeds)
        self.lost += len(before.difference(self._tracker.active))
        result: list[FoundShape] = [(*self._seed_of[key], shape.points) for key, shape in found]
        self._seed_of.update((each.number, (each.number, index)) for each, index in beginning)
        self._at = self._order(frame.number)
        return FoundOnFrame(frame.number, result)

    def say_what_is_needed(self) -> None:
        """Let another thread know, through `needs`, how much there is left to do."""
        if self._tracker.active:
            self._needed_from = -inf
        else:
            index = bisect_right(self._stops, self._at)
            self._needed_from = self._stops[index] if index < len(self._stops) else inf

    def needs(self, frames: Sequence[Frame]) -> bool:
        """Whether something may be followed over frames that come next."""
        return max(self._order(frames[0].number), self._order(frames[-1].number)) >= self._needed_from

    def _order(self, frame: int) -> int:
        return -frame if self.is_backward else frame
