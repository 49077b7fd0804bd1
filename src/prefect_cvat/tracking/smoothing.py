"""Smoothing where something is over time, so that the jitter of a detector makes no keyframes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from math import inf

from prefect_cvat.geometry.keyframes import Observation, turn_tolerance

__all__ = ["Smoother"]


class Smoother:
    """Smooths the observations of one track, of which each comes out when those behind it are known.

    Each coordinate becomes what a straight line through it and its neighbours says, fitted with weights that
    fall to nothing with the distance in time (local linear regression with the tricube kernel, Cleveland
    1979). So what moves evenly stays where it is, also at the ends, where there are neighbours on one side
    only. Nothing leaves the range of what it was made of, or turns inside out.

    What is not interpolated, is outside, or is to stay exactly as it is, is handed on as it came, and nothing
    is smoothed across it. The coordinates of a skeleton's element that is hidden stay where they were, and
    nothing is smoothed across that either.

    It holds the observations on `reach` frames before and after the one that comes out next.

    Args:
        reach: Frames before and after. 0: all come out at once, as they came.
        tolerance: Pixels by which interpolation may be off.
    """

    def __init__(self, reach: int, tolerance: float) -> None:
        self._reach = reach
        self._tolerance = tolerance
        self._window: deque[Observation] = deque()
        self._next = 0  # in the window: the one that comes out next
        self._last: Observation | None = None

    def add(self, observation: Observation, is_exact: bool = False) -> list[Observation]:
        """Take the next observation; what comes out, in the order in which it went in."""
        if not self._reach or is_exact or observation.is_held or observation.states[0][0]:
            return [*self.end(), observation]
        self._window.append(observation)
        complete = []
        while self._window[self._next].frame + self._reach <= observation.frame:
            complete.append(self._take())
            while self._window[0].frame < self._window[self._next].frame - self._reach:
                self._window.popleft()
                self._next -= 1
        return complete

    def end(self) -> list[Observation]:
        """All that has not come out yet; what follows has nothing to do with it."""
        complete = [self._take() for _ in range(self._next, len(self._window))]
        self._window.clear()
        self._next = 0
        self._last = None
        return complete

    def _take(self) -> Observation:
        middle = self._window[self._next]
        self._next += 1
        near = [each for each in self._window if abs(each.frame - middle.frame) <= self._reach]
        # Made of lists, because CPython keeps up to 2,000 tuples of each length that it made of generators.
        values = tuple([self._value(middle, near, index) for index in range(len(middle.values))])
        if _is_mirrored(middle, values):
            values = middle.values
        self._last = replace(
            middle,
            values=values,
            rotation=values[-1] % 360,
            tolerances=(*middle.tolerances[:-1], turn_tolerance(values[:-1], self._tolerance)),
        )
        return self._last

    def _value(self, middle: Observation, near: Sequence[Observation], index: int) -> float:
        if middle.tolerances[index] == inf:
            return (self._last or middle).values[index]
        shown = _shown(middle, near, index)
        weights = _weights(tuple([each.frame - middle.frame for each in shown]), self._reach)
        values = [each.values[index] for each in shown]
        fitted = sum(weight * value for weight, value in zip(weights, values, strict=True))
        return min(max(fitted, min(values)), max(values))


def _shown(middle: Observation, near: Sequence[Observation], index: int) -> Sequence[Observation]:
    """Those next to one another around the middle that a value is known of."""
    if all(each.tolerances[index] < inf for each in near):
        return near
    before = [each for each in near if each.frame < middle.frame]
    after = [each for each in near if each.frame > middle.frame]
    return [
        *reversed([*takewhile(lambda each: each.tolerances[index] < inf, reversed(before))]),
        middle,
        *takewhile(lambda each: each.tolerances[index] < inf, after),
    ]


def _is_mirrored(observation: Observation, values: Sequence[float]) -> bool:
    """Whether a rectangle or an ellipse would be turned inside out, as steep lines at an end may do."""
    if len(observation.states) > 1 or len(values) != 5:
        return False
    left, top, right, bottom = values[:4]
    first, second, third, fourth = observation.values[:4]
    return (right - left) * (third - first) < 0 or (bottom - top) * (fourth - second) < 0


@lru_cache(maxsize=1024)
def _weights(times: tuple[int, ...], reach: int) -> tuple[float, ...]:
    """By how much each counts for the value at time 0 of the line through all of them."""
    if len(times) == 1:
        return (1.0,)
    kernel = [(1 - (abs(time) / (reach + 1)) ** 3) ** 3 for time in times]
    zeroth = sum(kernel)
    first = sum(weight * time for weight, time in zip(kernel, times, strict=True))
    second = sum(weight * time * time for weight, time in zip(kernel, times, strict=True))
    share = zeroth * second - first * first
    return tuple(weight * (second - first * time) / share for weight, time in zip(kernel, times, strict=True))
