"""Predictions held against the truth, both in COCO's format.

Average precision is computed by faster-coco-eval, which agrees with pycocotools. Precision, recall and
the confusion matrix follow from the same similarities (IoU, or OKS of keypoints) at one threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.evaluation.curves import Counts, ScoreCurve
from prefect_cvat.evaluation.dataset import Dataset, IouType, read_dataset
from prefect_cvat.evaluation.matching import Matches, Similarities, match_all
from prefect_cvat.messages.argument_names import argument

__all__ = ["Confusion", "Evaluation", "LabelEvaluation", "evaluate"]

DETECTIONS = {"bbox": 100, "segm": 100, "keypoints": 20}
"""How many predictions of a label on an image COCO looks at for its average precision."""


class Confusion(BaseModel):
    """What was taken for what.

    Attributes:
        labels: The labels that occur.
        counts: A row for each label of the truth, and one for what is no object; in it a column for each
            label that was predicted, and one for what was missed.
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
    """How good the predictions of a label are.

    Attributes:
        truth: How many objects there are.
        true_positives: How many of them were found, at the IoU and score thresholds.
        false_positives: How many predictions are of none.
        ap: COCO's average precision, over IoU thresholds from 0.5 to 0.95; None if there are no objects.
        ap50: The same at IoU 0.5.
        ap75: The same at IoU 0.75.
        best_threshold: The score threshold with the highest F1; None if nothing is right at any.
        best_f1: The F1 that it gives.
        curve: What counts at each score threshold.
    """


class Evaluation(_Measured):
    """How good predictions are. The counts are those of all labels together; the rest is as by label.

    Attributes:
        iou_type: What was compared: `bbox`, `segm` or `keypoints`.
        iou_threshold: The least IoU (or OKS) of a prediction with its object, for all but `ap` and `ap75`.
        score_threshold: The least score that counts, for all but average precision and curves.
        ap: COCO's average precision, the mean over the labels that have objects; None if there are none.
        by_label: The same by label, of those that have objects or predictions.
        confusion: What was taken for what. Predictions get objects of their own label first; what is left
            on both sides is then put together across labels.
        matches: Which prediction is of which object.
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
    """Hold predictions against the truth.

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
        predictions: A list of results in COCO's format: `image_id`, `category_id`, `score`, and `bbox`,
            `segmentation` (polygons or RLE) or `keypoints`. Neither is changed.
        iou_type: Compare boxes, masks or keypoints.
        iou_threshold: The least IoU (of keypoints: OKS) of a prediction with its object, above 0 to 1;
            average precision has its own.
        score_threshold: The least score of a prediction that counts, 0 to 1; average precision and curves
            look at all.

    Keypoints are compared by OKS with COCO's deviations for the keypoints that COCO has, by their names, and
    with the mean of these for others.

    Raises:
        ValueError: The data are not in COCO's format, or a prediction is of an image or a category that the
            truth does not have; or a threshold is out of range.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"{argument('iou_threshold')} must be above 0 and at most 1, not {iou_threshold}")
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"{argument('score_threshold')} must be between 0 and 1, not {score_threshold}")
    data = read_dataset(truth, predictions, iou_type)
    precision, similarities = _run_coco(data)
    matches = match_all(data, similarities, iou_threshold, score_threshold)
    scores = np.array([item["score"] for item in data.predictions])
    of_label = np.array([item["category_id"] for item in data.predictions], dtype=np.int64)
    truth_label = np.array([item["category_id"] for item in data.truth], dtype=np.int64)
    is_scored = ~matches.is_ignored
    by_label = {}
    for category_id, name in data.categories.items():
        is_own = is_scored & (of_label == category_id)
        objects = int(np.count_nonzero(matches.is_truth & (truth_label == category_id)))
        if objects or is_own.any():
            curve = ScoreCurve.of(scores[is_own], matches.truth_of[is_own] >= 0, objects)
            by_label[name] = LabelEvaluation(**_measured(curve, precision[category_id], score_threshold))
    overall = ScoreCurve.of(
        scores[is_scored], matches.truth_of[is_scored] >= 0, int(np.count_nonzero(matches.is_truth))
    )
    everything = np.stack([*precision.values()], axis=-1) if precision else np.full((10, 101, 1), -1.0)
    return Evaluation(
        **_measured(overall, everything, score_threshold),
        iou_type=iou_type,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        by_label=by_label,
        confusion=_confusion(data, matches),
        matches=matches,
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
    """The mean as pycocotools takes it: -1 stands for labels without objects."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _run_coco(data: Dataset) -> tuple[dict[int, NDArray[np.float64]], Similarities]:
    """Have faster-coco-eval compute what COCO's average precision is made of.

    Returns:
        By category the precision at 10 IoU thresholds and 101 recalls, -1 where there are no objects; and
        by image and category the IoU (or OKS) of predictions, in descending order of score, with objects.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # imports OpenCV where there is one

    common = {"images": data.images, "categories": [{"id": key} for key in data.categories]}
    truth = COCO({**common, "annotations": data.truth})
    predictions = COCO({**common, "annotations": data.predictions})
    precision: dict[int, NDArray[np.float64]] = {}
    similarities: Similarities = {}
    for sigmas, categories in data.groups.items():
        run = COCOeval_faster(truth, predictions, data.iou_type, kpt_oks_sigmas=list(sigmas) or None)
        run.params.catIds = list(categories)
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        # the second limit is for the similarities: precision and recall are of all predictions
        run.params.maxDets = [DETECTIONS[data.iou_type], max(len(data.predictions), 1000)]
        run.evaluate()
        run.accumulate()
        for place, category in enumerate(run.params.catIds):
            precision[int(category)] = run.eval["precision"][:, :, place, 0, 0]
        similarities |= {pair: found for pair, found in run.ious.items() if len(found)}
    return precision, similarities


def _confusion(data: Dataset, matches: Matches) -> Confusion:
    truth = [item["category_id"] for item in data.truth]
    predicted = [item["category_id"] for item in data.predictions]
    is_scored = matches.counts & ~matches.is_ignored
    occurring = {truth[place] for place in np.flatnonzero(matches.is_truth)}
    occurring |= {predicted[place] for place in np.flatnonzero(is_scored)}
    order = {category: i for i, category in enumerate(c for c in data.categories if c in occurring)}
    nothing = len(order)
    counts = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    is_covered = np.zeros(len(truth), dtype=bool)
    for place in np.flatnonzero(is_scored):
        own = matches.truth_of[place] if matches.truth_of[place] >= 0 else matches.mistaken_for[place]
        if own >= 0:
            is_covered[own] = True
        counts[order[truth[own]] if own >= 0 else nothing, order[predicted[place]]] += 1
    for place in np.flatnonzero(matches.is_truth & ~is_covered):
        counts[order[truth[place]], nothing] += 1
    return Confusion(
        labels=tuple(data.categories[category] for category in order),
        counts=tuple(map(tuple, counts.tolist())),
    )
