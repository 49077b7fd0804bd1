"""What corrections say about the shapes of a function: how many are right, in groups of similar shapes.

Shapes are grouped by what `review/calibration.py` needs to know of them, so the size of the evidence does not
grow with the number of shapes, evidence of several tasks can be added, and a task that is learned from again
replaces its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["EDGE", "Evidence", "ShapeGroup", "group_of", "is_at_edge"]

EDGE = 0.02
"""An object this close to the edge may be cut off by it; a fraction of the image's width or height."""

SCORE_STEPS = 100
OVERLAP_STEPS = 10
SMALLEST_AREA = 2.0**-20
"""Areas are fractions of the image; a smaller one, or none, counts as this."""


class ShapeGroup(NamedTuple):
    """Shapes that are similar to each other.

    Attributes:
        label: The name of their label in the task.
        score: Their score in hundredths.
        area: The logarithm to base 2 of their share of the image, rounded.
        at_edge: Whether they touch the edge of the image.
        overlap: Their IoU with a shape of higher score in tenths; 0 below 0.5.
    """

    label: str
    score: int
    area: int
    at_edge: bool
    overlap: int


def group_of(label: str, score: float, area: float, at_edge: bool, iou: float) -> ShapeGroup:
    """The group of a shape.

    Args:
        label: The name of its label in the task.
        score: Its score, 0 to 1.
        area: The area of its bounding box as a fraction of the image.
        at_edge: Whether it touches the edge of the image, see `is_at_edge`.
        iou: Its IoU with a shape of higher score; 0 if none is at least 0.5.
    """
    return ShapeGroup(
        label,
        round(score * SCORE_STEPS),
        round(math.log2(max(area, SMALLEST_AREA))),
        at_edge,
        round(iou * OVERLAP_STEPS),
    )


def is_at_edge(box: tuple[float, float, float, float], width: int, height: int) -> bool:
    """Whether the object in a box, in pixels, may be cut off by the edge of an image of this size."""
    left, top, right, bottom = box
    margin_x, margin_y = EDGE * width, EDGE * height
    return left <= margin_x or top <= margin_y or right >= width - margin_x or bottom >= height - margin_y


Row = tuple[str, int, int, bool, int, float, float]
"""A group and its numbers of right shapes and of all shapes, as they are stored."""


class Evidence:
    """The numbers of right and of all shapes by group.

    Args:
        rows: Rows as `rows` returns them.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._counts: dict[ShapeGroup, list[float]] = {}
        for label, score, area, at_edge, overlap, right, total in rows:
            self._add(ShapeGroup(label, score, area, at_edge, overlap), right, total)

    def add(self, group: ShapeGroup, is_right: bool) -> None:
        """Add a shape that somebody has looked at."""
        self._add(group, int(is_right), 1)

    def merge(self, other: Evidence, weight: float = 1.0) -> None:
        """Add the shapes of another task.

        Args:
            other: The shapes.
            weight: How many shapes each of them counts as.
        """
        for group, (right, total) in other._counts.items():
            self._add(group, weight * right, weight * total)

    def rows(self) -> list[Row]:
        """The groups with their numbers of right shapes and of all shapes, sorted."""
        return [(*group, right, total) for group, (right, total) in sorted(self._counts.items())]

    def __iter__(self) -> Iterator[tuple[ShapeGroup, float, float]]:
        for group, (right, total) in self._counts.items():
            yield group, right, total

    @property
    def total(self) -> float:
        """The number of shapes."""
        return sum(total for _, total in self._counts.values())

    @property
    def right(self) -> float:
        """The number of right shapes."""
        return sum(right for right, _ in self._counts.values())

    def _add(self, group: ShapeGroup, right: float, total: float) -> None:
        counts = self._counts.setdefault(group, [0.0, 0.0])
        counts[0] += right
        counts[1] += total
