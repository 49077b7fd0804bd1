"""Which observations of a track must be keyframes, and what CVAT makes of the frames between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import degrees, hypot, inf
from typing import Any, TypeAlias

__all__ = [
    "KeyframePicker",
    "Observation",
    "State",
    "between",
    "interpolate",
    "is_interpolated",
    "short_way",
    "turn_tolerance",
]

MOST_WAITING = 64
"""How many observations are held at the most while a later keyframe is hoped for."""


State: TypeAlias = tuple[bool, bool, int, tuple[tuple[int, str], ...]]
"""What of a shape does not change gradually: outside, occluded, z_order, and its mutable attributes."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Where something is on a frame.

    Attributes:
        frame: The frame's number.
        values: The coordinates, in pixels (of a skeleton those of its elements, one after the other), and
            last the rotation in degrees, going on beyond 360 and below 0 where the object keeps turning.
        rotation: Degrees, 0 to 360.
        tolerances: By how much interpolation may be off in each of the values.
        states: The state of the shape, then those of its elements.
        is_held: Whether nothing lies between it and the next one, because its shape is not interpolated.
        is_keyframe: Whether it must be a keyframe in any case.
    """

    frame: int
    values: tuple[float, ...]
    rotation: float
    tolerances: tuple[float, ...]
    states: tuple[State, ...]
    is_held: bool = False
    is_keyframe: bool = False


class KeyframePicker(ABC):
    """Finds the observations that must be keyframes so that all others lie on the straight lines between.

    From the last keyframe, each observation leaves a range of slopes for each of its values; lines within all
    these ranges pass all of the observations closely enough. An observation whose own slopes are within may
    be the next keyframe. The last such one is taken when the ranges have become empty.
    """

    __slots__ = ("_anchor", "_end", "_high", "_low", "_waiting")

    def __init__(self) -> None:
        self._anchor: Observation | None = None
        self._end: Observation | None = None
        self._waiting: list[Observation] = []  # those behind `_end`
        self._low: list[float] = []
        self._high: list[float] = []

    @abstractmethod
    def keep(self, keyframe: Observation) -> None:
        """Take a keyframe. They come in ascending order."""

    def add(self, observation: Observation) -> None:
        """Take the next observation."""
        queue = deque([observation])
        while queue:
            following = queue.popleft()
            if self._anchor is None:
                self._start(following)
            elif following.is_held or self._anchor.is_held:
                self.end()
                self._start(following)
            else:
                is_open = self._narrow(self._anchor, following)
                is_done = following.is_keyframe or not is_open or len(self._waiting) > MOST_WAITING
                if self._end is not None and is_done:
                    queue.extendleft(reversed(self._waiting))
                    self._start(self._end)

    def end(self) -> None:
        """Make the last observation a keyframe; what follows has nothing to do with it."""
        while self._end is not None:
            waiting = self._waiting
            self._start(self._end)
            for observation in waiting:
                self.add(observation)
        self._anchor = None

    def _start(self, observation: Observation) -> None:
        self.keep(observation)
        self._anchor = observation
        self._end = None
        self._waiting = []
        self._low = [-inf] * len(observation.values)
        self._high = [inf] * len(observation.values)

    def _narrow(self, anchor: Observation, following: Observation) -> bool:
        """Narrow the ranges of slopes; whether anything is left of them."""
        low, high = self._low, self._high
        time = following.frame - anchor.frame
        # CVAT turns the short way. The first one is the end in any case: there is nothing between.
        fits = abs(following.values[-1] - anchor.values[-1]) < 180 or self._end is None
        is_open = True
        for index, (start, stop, tolerance) in enumerate(
            zip(anchor.values, following.values, following.tolerances, strict=True)
        ):
            slope = (stop - start) / time
            if not low[index] <= slope <= high[index]:
                fits = False
            margin = tolerance / time
            if slope - margin > low[index]:
                low[index] = slope - margin
            if slope + margin < high[index]:
                high[index] = slope + margin
            if low[index] > high[index]:
                is_open = False
        if fits:
            self._end = following
            self._waiting = []
        else:
            self._waiting.append(following)
        return is_open


def is_interpolated(shape_type: str, count: int) -> bool:
    """Whether CVAT 2.73 draws straight lines between the keyframes of such a shape, of `count` numbers.

    Of points it does for a single one only. Polylines and polygons it matches along their length, which may
    join other corners than those that belong together; masks stay as they are.
    """
    return shape_type in ("rectangle", "ellipse", "cuboid", "skeleton") or (
        shape_type == "points" and count == 2
    )


def short_way(turn: float) -> float:
    """The same turn the short way round: degrees from -180 to below 180."""
    return (turn + 180) % 360 - 180


def turn_tolerance(points: Sequence[float], tolerance: float) -> float:
    """How many degrees a shape may turn before its outermost points move by more than `tolerance` pixels."""
    xs, ys = points[::2], points[1::2]
    radius = hypot(max(xs) - min(xs), max(ys) - min(ys)) / 2 if points else 0.0
    return degrees(tolerance / max(radius, 1.0))


def between(one: Observation, other: Observation, frame: int) -> Observation:
    """The observation on a frame between two others, as CVAT interpolates it."""
    if one.is_held or other.is_held or one.states[0][0]:
        return replace(one, frame=frame, is_keyframe=False)
    way = (frame - one.frame) / (other.frame - one.frame)
    values = tuple(a + (b - a) * way for a, b in zip(one.values, other.values, strict=True))
    return Observation(frame, values, values[-1] % 360, one.tolerances, one.states)


def interpolate(track: Mapping[str, Any], frame: int) -> dict[str, Any] | None:
    """The shape that a track has on a frame, as CVAT shows it.

    Args:
        track: A track as the server's JSON object, its keyframes in ascending order.
        frame: The frame; behind the last keyframe, the object stays where it was.

    Returns:
        The shape with its `label_id`, a skeleton with those of its `elements` that are not outside; None
        where the track has not begun, or is outside.
    """
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    for shape in track["shapes"]:
        if shape["frame"] > frame:
            after = shape
            break
        before = shape
    if before is None or before["outside"]:
        return None
    result = {**before, "frame": frame, "label_id": track["label_id"]}
    points = before.get("points") or ()
    if after is not None and points and is_interpolated(before["type"], len(points)):
        way = (frame - before["frame"]) / (after["frame"] - before["frame"])
        result["points"] = [a + (b - a) * way for a, b in zip(points, after["points"], strict=True)]
        turn = short_way(after["rotation"] - before["rotation"])
        result["rotation"] = (before["rotation"] + turn * way) % 360
    if before["type"] == "skeleton":
        elements = [interpolate(element, frame) for element in track["elements"]]
        result["elements"] = [element for element in elements if element is not None]
    return result
