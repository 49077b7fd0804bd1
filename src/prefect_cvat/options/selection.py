"""Which frames of a task a run is for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prefect_cvat.number_ranges import NumberRanges

__all__ = ["Selection"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which frames of a task to annotate; by default all that can be.

    Attributes:
        frames: Relative frame numbers; None for all.
        jobs: Ids of annotation jobs; None for all.
        unannotated: Whether only frames without annotations are wanted; `exclude_annotated` finds them.
    """

    frames: Collection[int] | None = None
    jobs: Collection[int] | None = None
    unannotated: bool = False

    def __post_init__(self) -> None:
        if self.frames is not None:
            object.__setattr__(self, "frames", NumberRanges.of(self.frames))
