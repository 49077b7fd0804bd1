"""Options of refining existing shapes into masks or polygons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.models import SourceEnum

__all__ = ["PROMPTING_TYPES", "RefineOptions"]

PROMPTING_TYPES = ("rectangle", "points")
"""The types of shapes that prompts can be made of."""


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Which shapes are refined, and into what.

    Attributes:
        labels: Names of labels of the task; None for all.
        sources: Who made the shapes: `auto`, `semi-auto`, `manual`, `file`, `consensus`; None for all.
        shape_types: `rectangle`, `points`; None for both.
        to: What they become, `mask` or `polygon`.
        keep_originals: Add what is found, and remove nothing.
        tolerance: How far a polygon may be from the outline of its mask, in pixels.

    Raises:
        ValueError: One of these is something else.
    """

    labels: Collection[str] | None = None
    sources: Collection[str] | None = None
    shape_types: Collection[str] | None = None
    to: Literal["mask", "polygon"] = "mask"
    keep_originals: bool = False
    tolerance: float = 1.0

    def __post_init__(self) -> None:
        for name, values, known in (
            ("sources", self.sources, [source.value for source in SourceEnum]),
            ("shape_types", self.shape_types, list(PROMPTING_TYPES)),
            ("to", [self.to], ["mask", "polygon"]),
        ):
            if strangers := [value for value in values or () if value not in known]:
                raise ValueError(f"{argument(name)} must be of {', '.join(known)}, not {strangers[0]!r}")

    def describe(self) -> str:
        """What is looked for, such as `rectangle or points of source manual`."""
        text = " or ".join(PROMPTING_TYPES if self.shape_types is None else self.shape_types)
        if self.labels is not None:
            text += f" of label {' or '.join(map(repr, self.labels))}"
        if self.sources is not None:
            text += f" of source {' or '.join(self.sources)}"
        return text
