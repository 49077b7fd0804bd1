"""Shapes that are on a frame before a function sees it, for functions that ask for them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExistingShape"]


@dataclass(frozen=True, kw_only=True)
class ExistingShape:
    """A shape that is on a frame before the run, or a track's shape on that frame.

    Attributes:
        label_id: Its label, as in the function's spec. Shapes of other labels are left out.
        type: One of `models.ShapeType`.
        points: As in `LabeledShapeRequest`; empty for a skeleton.
        rotation: Degrees.
        box: The bounding box, left, top, right, bottom, in pixels.
        source: CVAT's: `manual`, `semi-auto`, `auto` or `file`. CVAT makes the source of a machine's shape
            `manual` when somebody corrects it.
    """

    label_id: int
    type: str
    points: tuple[float, ...]
    rotation: float
    box: tuple[float, float, float, float]
    source: str
