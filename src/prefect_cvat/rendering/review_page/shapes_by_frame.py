"""Collects the shapes of a page. Their number is bounded, so that a browser can show the page."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Any

from prefect_cvat.frames import Frame
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.rendering.review_page.content import KINDS, PageShape
from prefect_cvat.rendering.review_page.shape_paths import page_shape

__all__ = ["MAX_SHAPES", "ShapesByFrame"]

MAX_SHAPES = 100_000
"""Maximum number of shapes that a page draws. If there are more, frames with most shapes lose some: those
with the highest scores, and mistakes last."""


class ShapesByFrame:
    """The shapes of the frames of a page."""

    def __init__(self) -> None:
        self._shapes: dict[int, list[PageShape]] = {}
        self._counts: Counter[int] = Counter()
        self._kept = 0
        self._broken = 0

    def add(
        self, frame: Frame, shape: Mapping[str, Any], label: str, *, kind: str = "machine", note: str = ""
    ) -> None:
        """Add a shape of a frame. One whose points are wrong is counted, but not drawn.

        Args:
            frame: The frame.
            shape: The shape, as the server's JSON object.
            label: The name of its label.
            kind: The name of one of `content.KINDS`.
            note: What follows the label in its caption.
        """
        self._counts[frame.number] += 1
        try:
            drawn = page_shape(shape, label, max(frame.width, frame.height), kind=kind, note=note)
        except ValueError:
            self._broken += 1
            return
        self._shapes.setdefault(frame.number, []).append(drawn)
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

    def notes(self) -> list[str]:
        """A line about the shapes that cannot be drawn, if there are any."""
        if not self._broken:
            return []
        return [f"not drawn: {pluralize(self._broken, 'shape')} whose points are wrong"]

    def _trim(self) -> None:
        """Leave out shapes on the frames with most shapes, until there are exactly `MAX_SHAPES`."""
        counts = [len(shapes) for shapes in self._shapes.values()]

        def kept(limit: int) -> int:
            return sum(min(count, limit) for count in counts)

        limit = bisect_right(range(max(counts) + 1), MAX_SHAPES, key=kept) - 1
        one_more = MAX_SHAPES - kept(limit)
        for frame, shapes in self._shapes.items():
            if len(shapes) > limit:
                self._shapes[frame] = nsmallest(limit + (one_more > 0), shapes, key=_rank)
                one_more -= 1
        self._kept = sum(map(len, self._shapes.values()))


def _rank(shape: PageShape) -> float:
    """Where a shape is among others, as in `review.js`: mistakes first, then low scores."""
    return 0.0 if KINDS[shape.kind].is_mistake else 1.0 + (1.0 if shape.score is None else shape.score)
