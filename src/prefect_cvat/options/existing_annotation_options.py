"""Options for the annotations that a task has before a run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.options.option_base import OptionModel

__all__ = ["Existing", "ExistingOptions", "ExistingSource", "ReplacementOptions"]


class Existing(StrEnum):
    """The treatment of existing annotations.

    Attributes:
        KEEP: Existing annotations are kept.
        CLEAR: All are removed once their replacements are on the server, except on frames that are left out.
        REPLACE_AUTO: As CLEAR, but only annotations of source `auto`; manual annotations are kept.
    """

    KEEP = "keep"
    CLEAR = "clear"
    REPLACE_AUTO = "replace_auto"

    def removes(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation that was present before the run is removed."""
        match self:
            case Existing.KEEP:
                return False
            case Existing.CLEAR:
                return True
            case Existing.REPLACE_AUTO:
                return annotation.get("source") == "auto"


class ExistingSource(StrEnum):
    """The existing annotations that new ones are compared with, to leave out what is annotated already.

    Attributes:
        MANUAL: Manual annotations: drawn, imported or corrected by users, that is, not of source `auto`.
        AUTO: Annotations of source `auto`.
        ALL: Both.
    """

    MANUAL = "manual"
    AUTO = "auto"
    ALL = "all"

    def includes(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation is compared with."""
        is_auto = annotation.get("source") == "auto"
        match self:
            case ExistingSource.MANUAL:
                return not is_auto
            case ExistingSource.AUTO:
                return is_auto
            case ExistingSource.ALL:
                return True


class ReplacementOptions(OptionModel):
    """Options for existing annotations."""

    group: ClassVar[str] = "Existing annotations"

    existing: Annotated[
        Existing,
        Field(
            title="Existing annotations",
            description=(
                "Keep the existing annotations of the task, clear them, or replace those of source auto. They"
                " are removed when their replacements are on the server."
            ),
        ),
    ] = Existing.KEEP


class ExistingOptions(ReplacementOptions):
    """Options for existing annotations, and for leaving out what is annotated already."""

    skip_existing_iou: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None,
        Field(
            title="Minimum IoU with existing annotations",
            description=(
                "Leave out what is annotated already: shapes that overlap one of the same label by this"
                " intersection over union or more, such as 0.6, and tags of the same label; by default"
                " nothing is left out."
            ),
        ),
    ] = None
    skip_existing_source: Annotated[
        ExistingSource,
        Field(
            title="Source of existing annotations",
            description=(
                "Which existing annotations count for the minimum IoU: manual ones (all that are not of"
                " source auto), auto ones, or all."
            ),
        ),
    ] = ExistingSource.MANUAL

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        source, existing = self.skip_existing_source, self.existing
        if self.skip_existing_iou is None:
            if source is not ExistingSource.MANUAL:
                raise ValueError(
                    f"{argument('skip_existing_source')} says which existing annotations count for"
                    f" {argument('skip_existing_iou')}; set that too"
                )
        elif existing is Existing.CLEAR:
            raise ValueError(
                f"{argument('skip_existing_iou')} leaves room for existing annotations, and"
                f" {argument('existing', 'clear')} removes them; use {argument('existing', 'keep')}"
                + (", or 'replace_auto'" if source is ExistingSource.MANUAL else "")
            )
        elif existing is Existing.REPLACE_AUTO and source is not ExistingSource.MANUAL:
            raise ValueError(
                f"{argument('skip_existing_source', source)} leaves room for annotations of source auto, and"
                f" {argument('existing', 'replace_auto')} removes them; use"
                f" {argument('existing', 'keep')}, or {argument('skip_existing_source', 'manual')}"
            )
        return self
