"""The user's map from labels of the function to labels of the task."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LabelMap", "LabelMapEntry"]


class LabelMapEntry(BaseModel):
    """Where one label (or sublabel) of the function goes.

    Attributes:
        name: The label of the task; None drops what the function finds of this label.
        sublabels: The same for its keypoints, by name; None: each to the one of the same name.
        attributes: From attribute names of the function to those of the task; None drops the
            attribute. Without it, each goes to the one of the same name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None
    sublabels: dict[str, str | LabelMapEntry | None] | None = Field(default=None)
    attributes: dict[str, str | None] | None = Field(default=None)


LabelMap = Mapping[str, str | LabelMapEntry | None]
"""From label names of the function to label names of the task; None drops a label.

Labels that it does not name go to the task's label of the same name.
"""
