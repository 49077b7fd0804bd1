"""Compares predictions with the ground truth, both in COCO's format.

faster-coco-eval computes the IoUs, part by part. Average precision equals that of pycocotools (the tests
compare them). Precision, recall and the confusion matrix are for one score threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.evaluation.curves import Counts, ScoreCurve
from prefect_cvat.evaluation.inputs.coco_dataset import IouType, read_dataset
from prefect_cvat.evaluation.matching import Matches, Ranked, match_all
from prefect_cvat.evaluation.precision import precision_at_recalls
from prefect_cvat.messages.argument_names import argument

__all__ = ["Confusion", "Evaluation", "Evaluator", "LabelEvaluation", "evaluate"]

DETECTIONS = {"bbox": 100, "segm": 100, "keypoints": 20}
"""Maximum number of predictions per label and image for average precision (COCO's `maxDets`)."""


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


class _Measured(Counts):
    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    ap: float | None
    ap50: float | None
    ap75: float | None
    best_threshold: float | None
    best_f1: float | None
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
        matches: The matches of predictions with objects.
    """

    iou_type: IouType
    iou_threshold: float
    score_threshold: float
    by_label: dict[str, LabelEvaluation]
    confusion: Confusion
    matches: Matches = Field(exclude=True, repr=False)


def evaluate(
    truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    iou_type: Literal["bbox", "segm", "keypoints"] = "bbox",
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> Evaluation:
    """Evaluate predictions on ground truth.

    Example:
        ```python
        import json
        from prefect_cvat.evaluation import evaluate

        truth = json.loads(open("instances.json").read())
        result = evaluate(truth, [
            {"image_id": 397133, "category_id": 1, "bbox": [388.7, 69.9, 109.4, 277.6], "score": 0.9},
        ])
        print(result.ap, result.by_label["person"].recall)
        ```

    Args:
        truth: A data set in COCO's format, as in `instances.json`: `images`, `categories`, `annotations`.
        predictions: Results in COCO's format: `image_id`, `category_id`, `score`, and `bbox`,
            `segmentation` (polygons or RLE) or `keypoints`.
        iou_type: Compare boxes, masks or keypoints.
        iou_threshold: Minimum IoU (for keypoints: OKS) of a match, greater than 0, at most 1; average
            precision has its own thresholds.
        score_threshold: Minimum score of a prediction, 0 to 1; average precision and curves use all scores.

    OKS uses COCO's sigmas for keypoints with the names of COCO's, and their mean for all others.

    Raises:
        ResponseTooLargeError: Too many pairs of predictions and objects overlap.
        ValueError: The data are not in COCO's format, a prediction has an unknown image or category, or a
            threshold is out of range.
    """
    evaluator = Evaluator(iou_type, iou_threshold=iou_threshold, score_threshold=score_threshold)
    evaluator.add(truth, predictions)
    return evaluator.result()


class Evaluator:
    """Compares predictions with the ground truth, one part of the images at a time.

    About 50 bytes are kept for each object and prediction.

    Args:
        iou_type: See `evaluate`.
        iou_threshold: See `evaluate`.
        score_threshold: See `evaluate`.

    Raises:
        ValueError: A threshold is out of range.
    """

    def __init__(self, iou_type: IouType, *, iou_threshold: float, score_threshold: float) -> None:
        if not 0 < iou_threshold <= 1:
            raise ValueError(
                f"{argument('iou_threshold')} must be above 0 and at most 1, not {iou_threshold}"
            )
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"{argument('score_threshold')} must be between 0 and 1, not {score_threshold}")
        self._iou_type = iou_type
        self._thresholds = iou_threshold, score_threshold
        self._categories: dict[int, str] = {}
        self._columns: list[_Columns] = []
        self._matches: list[Matches] = []

    def add(self, truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> None:
        """Add images with their annotations, each image once, in ascending order of image ids.

        Raises:
            ResponseTooLargeError: Too many pairs of predictions and objects overlap.
            ValueError: The data are not in COCO's format, or a prediction has an unknown image or category.
        """
        data = read_dataset(truth, predictions, self._iou_type)
        self._categories = data.categories
        matches, ranked = match_all(data, *self._thresholds, DETECTIONS[data.iou_type])
        places = {category: place for place, category in enumerate(data.categories)}
        self._matches.append(matches)
        self._columns.append(
            _Columns(
                scores=np.array([item["score"] for item in data.predictions], dtype=np.float64),
                label=np.array([places[item["category_id"]] for item in data.predictions], dtype=np.int32),
                object_label=np.array([places[item["category_id"]] for item in data.truth], dtype=np.int32),
                ranked=ranked,
            )
        )

    def result(self) -> Evaluation:
        """Compute the metrics, after all images have been added."""
        iou_threshold, score_threshold = self._thresholds
        matches = Matches.joined(self._matches)
        columns = _Columns.joined(self._columns)
        self._matches, self._columns = [], []
        is_scored = ~matches.is_ignored
        scores, ranked = columns.scores, columns.ranked
        by_label, precisions = {}, []
        for place, name in enumerate(self._categories.values()):
            is_of_label = is_scored & (columns.label == place)
            objects = int(np.count_nonzero(matches.is_evaluated & (columns.object_label == place)))
            own = columns.label[ranked.place] == place
            precision = precision_at_recalls(
                scores[ranked.place[own]], ranked.is_correct[own], ranked.is_ignored[own], objects
            )
            precisions.append(precision)
            if objects or is_of_label.any():
                curve = ScoreCurve.of(scores[is_of_label], matches.object_of[is_of_label] >= 0, objects)
                by_label[name] = LabelEvaluation(**_measured(curve, precision, score_threshold))
        overall = ScoreCurve.of(
            scores[is_scored], matches.object_of[is_scored] >= 0, int(np.count_nonzero(matches.is_evaluated))
        )
        everything = np.stack(precisions, axis=-1) if precisions else np.full((10, 101, 1), -1.0)
        return Evaluation(
            **_measured(overall, everything, score_threshold),
            iou_type=self._iou_type,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            by_label=by_label,
            confusion=_confusion(tuple(self._categories.values()), columns, matches),
            matches=matches,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Columns of predictions and objects: scores, and indices of labels."""

    scores: NDArray[np.float64]
    label: NDArray[np.int32]
    object_label: NDArray[np.int32]
    ranked: Ranked

    @classmethod
    def joined(cls, parts: Sequence[_Columns]) -> _Columns:
        firsts = np.cumsum([0, *(len(part.scores) for part in parts)])[:-1]
        return cls(
            scores=np.concatenate([part.scores for part in parts]),
            label=np.concatenate([part.label for part in parts]),
            object_label=np.concatenate([part.object_label for part in parts]),
            ranked=Ranked(
                np.concatenate(
                    [part.ranked.place + first for part, first in zip(parts, firsts, strict=True)]
                ),
                np.concatenate([part.ranked.is_correct for part in parts]),
                np.concatenate([part.ranked.is_ignored for part in parts]),
            ),
        )


def _measured(curve: ScoreCurve, precision: NDArray[np.float64], score_threshold: float) -> dict[str, Any]:
    counts = curve.at(score_threshold)
    best = curve.best_threshold()
    return {
        "truth": counts.truth,
        "true_positives": counts.true_positives,
        "false_positives": counts.false_positives,
        "ap": _mean(precision),
        "ap50": _mean(precision[0]),
        "ap75": _mean(precision[5]),
        "best_threshold": best,
        "best_f1": None if best is None else curve.at(best).f1,
        "curve": curve,
    }


def _mean(precision: NDArray[np.float64]) -> float | None:
    """The mean as in pycocotools, without labels that have no objects (-1)."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _confusion(names: Sequence[str], columns: _Columns, matches: Matches) -> Confusion:
    is_scored = matches.counts & ~matches.is_ignored
    predicted = columns.label[is_scored]
    own = np.where(matches.object_of >= 0, matches.object_of, matches.confused_with)[is_scored]
    is_covered = np.zeros(len(columns.object_label), dtype=bool)
    is_covered[own[own >= 0]] = True
    missed = columns.object_label[matches.is_evaluated & ~is_covered]
    occurring = np.union1d(columns.object_label[matches.is_evaluated], predicted)
    nothing = len(occurring)
    counts = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    rows = np.full(len(own), nothing)
    rows[own >= 0] = np.searchsorted(occurring, columns.object_label[own[own >= 0]])
    np.add.at(counts, (rows, np.searchsorted(occurring, predicted)), 1)
    counts[:nothing, nothing] += np.bincount(np.searchsorted(occurring, missed), minlength=nothing)
    return Confusion(
        labels=tuple(names[place] for place in occurring),
        counts=tuple(map(tuple, counts.tolist())),
    )
