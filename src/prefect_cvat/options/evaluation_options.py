"""Options for evaluating annotations."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from prefect_cvat.options.model import OptionModel

__all__ = ["EvaluationOptions"]


class EvaluationOptions(OptionModel):
    """Which frames count, and what counts as found."""

    group: ClassVar[str] = "Evaluation"

    all_frames: Annotated[
        bool,
        Field(description="Count frames also where no human has annotated anything: they were looked at."),
    ] = False
    iou_threshold: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Minimum IoU",
            description=(
                "Minimum IoU (or OKS) of a prediction with its object; average precision has its own."
            ),
        ),
    ] = 0.5
    score_threshold: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Minimum score",
            description=("Minimum score of a prediction that counts; average precision and curves take all."),
        ),
    ] = 0.0
