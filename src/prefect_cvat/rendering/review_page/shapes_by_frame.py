"""Collects the shapes of a page. Their number is bounded, so that a browser can show the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import nsmallest

from prefect_cvat.rendering.review_page.content import PageShape

__all__ = ["MAX_SHAPES", "ShapesByFrame"]

MAX_SHAPES = 100_000
"""Maximum number of shapes that a page draws. If there are more, frames with most shapes lose some: those
with the highest scores."""


class ShapesByFrame:
    """The shapes of the frames of a page."""

    def __init__(self) -> None:
        self._shapes: dict[int, list[PageShape]] = {}
        self._counts: Counter[int] = Counter()
        self._kept = 0

    def add(self, frame: int, shape: PageShape) -> None:
        """Add a shape of a frame."""
        self._counts[frame] += 1
        self._shapes.setdefault(frame, []).append(shape)
        self._kept += 1
        if self._kept > 1.25 * MAX_SHAPES:
            self._trim()

    def of(self, frame: int) -> Sequence[PageShape]:
        """The shapes to draw on a frame."""
        if self._kept > MAX_SHAPES:
            self._trim()
        return self._shapes.get(frame, ())

    def count(self, frame: int) -> int:
        """The number of all shapes that were added to a frame."""
        return self._counts[frame]

    def _trim(self) -> None:
        """Leave out shapes with high scores on the frames with most shapes."""
        limit = max(map(len, self._shapes.values()))
        while sum(min(len(shapes), limit) for shapes in self._shapes.values()) > MAX_SHAPES:
            limit = limit * 9 // 10
        for frame, shapes in self._shapes.items():
            if len(shapes) > limit:
                self._shapes[frame] = nsmallest(limit, shapes, key=_score)
        self._kept = sum(map(len, self._shapes.values()))


def _score(shape: PageShape) -> float:
    return 1.0 if shape.score is None else shape.score
