"""The metrics of an evaluation.

Average precision equals that of pycocotools (the tests compare them). Precision, recall, the confusion matrix
and the mistakes are for one score threshold.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.evaluation.calibration import Calibration
from prefect_cvat.evaluation.curves import Counts, ScoreCurve
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.matching.columns import Columns
from prefect_cvat.evaluation.matching.matches import Matches
from prefect_cvat.evaluation.mistakes import Mistakes

__all__ = ["Confusion", "Evaluation", "LabelEvaluation", "Size", "SizeEvaluation"]

Size = Literal["small", "medium", "large"]
"""COCO's sizes of objects: areas up to 32 x 32, up to 96 x 96 and above, in pixels."""


class Confusion(BaseModel):
    """The confusion matrix.

    Attributes:
        labels: The L labels that occur.
        counts: `[L + 1, L + 1]`: a row for each true label, then one for background; a column for each
            predicted label, then one for missed objects.
    """

    model_config = ConfigDict(frozen=True)

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class SizeEvaluation(BaseModel):
    """Average precision on objects of one size.

    Attributes:
        truth: Number of ground-truth objects.
        ap: COCO's average precision; None without objects.
    """

    model_config = ConfigDict(frozen=True)

    truth: int
    ap: float | None


class _Measured(Counts):
    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    ap: float | None
    ap50: float | None
    ap75: float | None
    best_threshold: float | None
    best_f1: float | None
    calibration_error: float | None
    by_size: dict[Size, SizeEvaluation]
    curve: ScoreCurve = Field(exclude=True, repr=False)


class LabelEvaluation(_Measured):
    """The metrics of one label.

    Attributes:
        truth: Number of ground-truth objects.
        true_positives: Number of matched predictions at the IoU and score thresholds.
        false_positives: Number of predictions that match no object.
        ap: COCO's average precision, the mean over IoU thresholds from 0.5 to 0.95; None without objects.
        ap50: Average precision at IoU 0.5.
        ap75: Average precision at IoU 0.75.
        best_threshold: The score threshold with the highest F1; None without true positives.
        best_f1: The F1 at that threshold.
        calibration_error: The expected calibration error of all scores, see `Calibration`; None without
            predictions, or if a score is not between 0 and 1.
        by_size: Average precision by size, as in pycocotools; it has no small objects with keypoints.
        curve: True and false positives by score threshold.
    """


class Evaluation(_Measured):
    """The metrics of all labels together, and of each label.

    Attributes:
        iou_type: What was compared: `bbox`, `segm` or `keypoints`.
        iou_threshold: Minimum IoU (or OKS) of a match; average precision has its own thresholds.
        score_threshold: Minimum score; average precision and curves use all scores.
        ap: COCO's mean average precision over the labels with objects; None without objects.
        by_label: The metrics of each label with objects or predictions.
        confusion: The confusion matrix: predictions are first matched with objects of the same label; the
            remaining ones across labels.
        calibration: The reliability curve of all scores; None without predictions, or if a score is not
            between 0 and 1.
        mistakes: The mistakes by kind, as in TIDE.
        matches: The matches of predictions with objects.
        columns: Scores and labels of predictions and objects.
    """

    iou_type: IouType
    iou_threshold: float
    score_threshold: float
    by_label: dict[str, LabelEvaluation]
    confusion: Confusion
    calibration: Calibration | None
    mistakes: Mistakes
    columns: Columns = Field(exclude=True, repr=False)
    matches: Matches = Field(exclude=True, repr=False)
