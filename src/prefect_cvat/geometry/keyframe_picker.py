"""Picks the observations of a track that must be keyframes; interpolation between them gives all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import degrees, hypot, inf
from typing import TypeAlias

__all__ = ["KeyframePicker", "Observation", "State", "interpolate_observations", "rotation_tolerance"]

MAX_WAITING = 64
"""Maximum number of observations that wait for a later keyframe to cover them."""


State: TypeAlias = tuple[bool, bool, int, tuple[tuple[int, str], ...]]
"""The properties of a shape that are not interpolated: outside, occluded, z_order, mutable attributes."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The position and state of an object on a frame.

    Attributes:
        frame: The frame's number.
        values: The coordinates, in pixels (of a skeleton those of its elements, one after the other), and as
            the last value the rotation in degrees, which continues above 360 and below 0 where the object
            keeps rotating.
        rotation: Degrees, 0 to 360.
        tolerances: Maximum interpolation error of each of the values, in the same units.
        states: The state of the shape, then those of its elements.
        is_held: Whether its shape is not interpolated: it stays as it is until the next keyframe.
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
    """Picks as few keyframes as possible while interpolation stays within the tolerances.

    Each observation after a keyframe allows a range of slopes for each of its values. A line from the
    keyframe whose slopes are in all of these ranges passes all observations within their tolerances. An
    observation whose own slopes are in the ranges is a candidate for the next keyframe. When a range becomes
    empty, the last candidate is picked. (This is a variant of the swing filter
    for piecewise linear approximation, Elmeleegy et al., VLDB 2009.)
    """

    __slots__ = ("_anchor", "_candidate", "_high", "_low", "_waiting")

    def __init__(self) -> None:
        self._anchor: Observation | None = None
        self._candidate: Observation | None = None
        self._waiting: list[Observation] = []  # the observations after the candidate
        self._low: list[float] = []
        self._high: list[float] = []

    @abstractmethod
    def keep(self, keyframe: Observation) -> None:
        """Receive a keyframe. Keyframes come in ascending order."""

    def add(self, observation: Observation) -> None:
        """Add the next observation."""
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
                is_done = following.is_keyframe or not is_open or len(self._waiting) > MAX_WAITING
                if self._candidate is not None and is_done:
                    queue.extendleft(reversed(self._waiting))
                    self._start(self._candidate)

    def end(self) -> None:
        """Make the last observation a keyframe. Later observations are not connected to it."""
        while self._candidate is not None:
            waiting = self._waiting
            self._start(self._candidate)
            for observation in waiting:
                self.add(observation)
        self._anchor = None

    def _start(self, observation: Observation) -> None:
        self.keep(observation)
        self._anchor = observation
        self._candidate = None
        self._waiting = []
        self._low = [-inf] * len(observation.values)
        self._high = [inf] * len(observation.values)

    def _narrow(self, anchor: Observation, following: Observation) -> bool:
        """Narrow the ranges of slopes by an observation. Returns whether none of them is empty."""
        low, high = self._low, self._high
        duration = following.frame - anchor.frame
        # CVAT rotates by the shorter angle. The first observation after the keyframe always fits: there is no
        # frame to interpolate.
        fits = abs(following.values[-1] - anchor.values[-1]) < 180 or self._candidate is None
        is_open = True
        for index, (start, stop, tolerance) in enumerate(
            zip(anchor.values, following.values, following.tolerances, strict=True)
        ):
            slope = (stop - start) / duration
            if not low[index] <= slope <= high[index]:
                fits = False
            margin = tolerance / duration
            if slope - margin > low[index]:
                low[index] = slope - margin
            if slope + margin < high[index]:
                high[index] = slope + margin
            if low[index] > high[index]:
                is_open = False
        if fits:
            self._candidate = following
            self._waiting = []
        else:
            self._waiting.append(following)
        return is_open


def interpolate_observations(one: Observation, other: Observation, frame: int) -> Observation:
    """Interpolate between two observations as CVAT does.

    Args:
        one: The earlier observation.
        other: The later one.
        frame: A frame between the two.
    """
    if one.is_held or other.is_held or one.states[0][0]:
        return replace(one, frame=frame, is_keyframe=False)
    fraction = (frame - one.frame) / (other.frame - one.frame)
    values = tuple(a + (b - a) * fraction for a, b in zip(one.values, other.values, strict=True))
    return Observation(frame, values, values[-1] % 360, one.tolerances, one.states)


def rotation_tolerance(points: Sequence[float], tolerance: float) -> float:
    """The rotation, in degrees, that moves the outermost points of a shape by `tolerance` pixels."""
    xs, ys = points[::2], points[1::2]
    radius = hypot(max(xs) - min(xs), max(ys) - min(ys)) / 2 if points else 0.0
    return degrees(tolerance / max(radius, 1.0))
