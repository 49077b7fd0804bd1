"""Compares predictions with the ground truth, both in COCO's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.calibration import calibrate
from prefect_cvat.evaluation.curves import ScoreCurve
from prefect_cvat.evaluation.inputs.coco_dataset import IouType, read_dataset
from prefect_cvat.evaluation.matching.columns import Columns
from prefect_cvat.evaluation.matching.matches import AP_THRESHOLDS, SIZES, Matches, match_all
from prefect_cvat.evaluation.metrics import Confusion, Evaluation, LabelEvaluation, SizeEvaluation
from prefect_cvat.evaluation.mistakes import MistakeColumns, find_mistakes
from prefect_cvat.evaluation.precision import RECALLS, precision_at_recalls
from prefect_cvat.messages.argument_names import argument

__all__ = ["Evaluator", "evaluate"]

DETECTIONS = {"bbox": 100, "segm": 100, "keypoints": 20}
"""Maximum number of predictions per label and image for average precision (COCO's `maxDets`)."""


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

    About 85 bytes are kept for each prediction, and 20 for each object.

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
        self._columns: list[Columns] = []
        self._matches: list[Matches] = []
        self._mistakes: list[MistakeColumns] = []

    def add(self, truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> None:
        """Add images with their annotations, each image once, in ascending order of image ids.

        Raises:
            ResponseTooLargeError: Too many pairs of predictions and objects overlap.
            ValueError: The data are not in COCO's format, or a prediction has an unknown image or category.
        """
        data = read_dataset(truth, predictions, self._iou_type)
        matches, ranked = match_all(data, *self._thresholds, DETECTIONS[data.iou_type])
        self._matches.append(matches)
        self._mistakes.append(find_mistakes(data, matches, ranked, self._thresholds[0]))
        self._columns.append(Columns.of(data, ranked))

    def result(self) -> Evaluation:
        """Compute the metrics, after all images have been added."""
        iou_threshold, score_threshold = self._thresholds
        matches, columns = Matches.joined(self._matches), Columns.joined(self._columns)
        mistakes = MistakeColumns.joined(self._mistakes)
        self._matches, self._columns, self._mistakes = [], [], []
        names = columns.names
        precision, objects = _precision(columns)
        is_scored, is_correct = ~matches.is_ignored, matches.object_of >= 0
        by_label = {}
        for place, name in enumerate(names):
            own = is_scored & (columns.label == place)
            if objects[place, 0] or own.any():
                by_label[name] = LabelEvaluation(
                    **_measured(
                        columns.scores[own],
                        is_correct[own],
                        precision[place : place + 1],
                        objects[place],
                        self._thresholds,
                        self._iou_type,
                    )
                )
        scores, is_correct = columns.scores[is_scored], is_correct[is_scored]
        return Evaluation(
            **_measured(scores, is_correct, precision, objects.sum(axis=0), self._thresholds, self._iou_type),
            iou_type=self._iou_type,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            by_label=by_label,
            confusion=_confusion(names, columns, matches),
            calibration=calibrate(scores, is_correct),
            mistakes=mistakes.summarize(
                names,
                columns.scores,
                columns.label,
                columns.ranked.place,
                columns.object_label,
                matches.is_evaluated,
            ),
            matches=matches,
            columns=columns,
        )


def _precision(columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Precision at recall thresholds, and the number of objects, of each label and size.

    Returns:
        `[L, S, 10, 101]`; -1 where there are no objects. `[L, S]`.
    """
    labels, thresholds = len(columns.names), len(AP_THRESHOLDS)
    precision = np.full((labels, len(SIZES), thresholds, len(RECALLS)), -1.0)
    objects = np.stack(
        [np.bincount(columns.object_label[own], minlength=labels) for own in columns.is_of_size], axis=1
    )
    ranked = columns.ranked
    for label, own in enumerate(columns.ranked_by_label()):
        for size in np.flatnonzero(objects[label]).tolist():
            precision[label, size] = precision_at_recalls(
                ranked.is_correct[size, own],
                ranked.is_ignored[size, own],
                int(objects[label, size]),
                thresholds,
            )
    return precision, objects


def _measured(
    scores: NDArray[np.float64],
    is_correct: NDArray[np.bool_],
    precision: NDArray[np.float64],
    objects: NDArray[np.int64],
    thresholds: tuple[float, float],
    iou_type: IouType,
) -> dict[str, Any]:
    """The metrics of predictions of one label, or of several: `precision` is `[L, S, 10, 101]`."""
    curve = ScoreCurve.of(scores, is_correct, int(objects[0]))
    counts = curve.at(thresholds[1])
    best = curve.best_threshold()
    calibration = calibrate(scores, is_correct)
    return {
        "truth": counts.truth,
        "true_positives": counts.true_positives,
        "false_positives": counts.false_positives,
        "ap": _mean(precision[:, 0]),
        "ap50": _mean(precision[:, 0, 0]),
        "ap75": _mean(precision[:, 0, 5]),
        "best_threshold": best,
        "best_f1": None if best is None else curve.at(best).f1,
        "calibration_error": None if calibration is None else calibration.expected_error,
        "by_size": {
            name: SizeEvaluation(truth=int(objects[size]), ap=_mean(precision[:, size]))
            for size, name in enumerate(SIZES)
            if size and not (name == "small" and iou_type == "keypoints")
        },
        "curve": curve,
    }


def _mean(precision: NDArray[np.float64]) -> float | None:
    """The mean as in pycocotools, without labels that have no objects (-1)."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _confusion(names: Sequence[str], columns: Columns, matches: Matches) -> Confusion:
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
