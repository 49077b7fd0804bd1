"""Options for evaluating annotations."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from prefect_cvat.options.option_model import OptionModel

__all__ = ["EvaluationOptions"]


class EvaluationOptions(OptionModel):
    """Options for the evaluated frames and the thresholds of a match."""

    group: ClassVar[str] = "Evaluation"

    all_frames: Annotated[
        bool,
        Field(description="Evaluate frames without manual annotations too: they have been checked."),
    ] = False
    iou_threshold: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Minimum IoU",
            description=("Minimum IoU (or OKS) of a match; average precision has its own thresholds."),
        ),
    ] = 0.5
    score_threshold: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Minimum score",
            description="Minimum score of a prediction; average precision and curves use all scores.",
        ),
    ] = 0.0
