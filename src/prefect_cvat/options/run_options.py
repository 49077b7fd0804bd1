"""The options of a run."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field

from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionOptions, ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions

__all__ = ["Options"]


# pydantic takes the fields of the last base first: this is the order of the help and of the documentation
class Options(
    ReviewOptions, ExecutionOptions, FrameOptions, ExistingOptions, AnnotationOptions, LabelOptions
):
    """The options of a run: all groups.

    Attributes:
        window: How many batches are in work at a time; not an option of users.
    """

    window: int = Field(default=4, ge=1, exclude=True)

    @classmethod
    def of_form(cls, *models: BaseModel) -> Self:
        """Make options from the sections of a form; where several have an option, the last counts."""
        options = cls.of(*models)
        # a list that was emptied in the form is one that was not given
        return options.changed(frames=options.frames or None, jobs=options.jobs or None)

    @property
    def leaves_out_annotated(self) -> bool:
        """Whether frames, or objects, that are annotated already are left out."""
        return self.frames == "unannotated" or self.skip_existing_iou is not None

    @property
    def frames_to_rank(self) -> int:
        """The number of frames to rank for review."""
        return max(self.review_frames, self.open_issues)
