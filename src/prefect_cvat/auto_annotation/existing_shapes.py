"""Shapes that are on a frame before a function sees it, for functions that ask for them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExistingShape"]


@dataclass(frozen=True, kw_only=True)
class ExistingShape:
    """A shape that is on a frame before the run, or a track's shape on that frame; or was, see `is_deleted`.

    Attributes:
        label_id: Its label, as in the function's spec. Shapes of other labels are left out.
        type: One of `models.ShapeType`.
        points: As in `LabeledShapeRequest`; empty for a skeleton.
        rotation: Degrees.
        box: The bounding box, left, top, right, bottom, in pixels.
        source: CVAT's: `manual`, `semi-auto`, `auto` or `file`. That of a machine's shape is no longer `auto`
            when somebody has corrected it.
        is_deleted: Whether it is no longer there: a run wrote it, and somebody has deleted it. That is known
            from the records of runs on this machine.
    """

    label_id: int
    type: str
    points: tuple[float, ...]
    rotation: float
    box: tuple[float, float, float, float]
    source: str
    is_deleted: bool = False
