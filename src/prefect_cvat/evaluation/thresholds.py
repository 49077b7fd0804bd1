"""Chooses score thresholds from an evaluation, for `label_thresholds` of later runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.curves import Objective, ScoreCurve
from prefect_cvat.evaluation.expected_time import seconds_by_detection
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.exceptions import NothingToEvaluateError
from prefect_cvat.files.output_file import write_text
from prefect_cvat.options.correction_options import CorrectionSeconds

__all__ = ["best_thresholds", "choose_thresholds", "write_thresholds"]

PRIOR_OBJECTS = 60
"""Prior objects with the scores of all labels that are added to each label, so that the threshold of a label
with few objects does not depend on chance."""


def choose_thresholds(
    evaluation: TaskEvaluation, *, precision: float | None = None, seconds: CorrectionSeconds | None = None
) -> dict[str, float]:
    """Choose a score threshold for each label that the function can find.

    The function should have been run with a low `conf_threshold`: thresholds below it cannot be chosen.

    Args:
        evaluation: The evaluation.
        precision: The precision to reach; None optimizes F1, or saved time, on other images.
        seconds: Choose for the time that correcting takes, by these seconds of each action.

    Returns:
        Thresholds for `label_thresholds`, by the function's label names (by the task's if automatic
        annotations were evaluated). Labels without objects and detections get the threshold of all labels.

    Raises:
        NothingToEvaluateError: There are no true positives.
    """
    chosen: dict[str, float] = {}
    overall: float | None = None
    for found in evaluation.shapes.values():  # masks come after boxes and replace their thresholds
        if (of_all := _threshold(found, None, precision, seconds)) is not None:
            overall = of_all if overall is None else overall
            chosen |= best_thresholds(found, precision=precision, seconds=seconds)
    if overall is None:
        raise NothingToEvaluateError(
            f"no thresholds can be chosen: {evaluation.predictions} has no true positives"
        )
    if evaluation.function_labels is None:
        return chosen
    names = {label.id: label.name for label in evaluation.info.labels}
    return {own: chosen.get(names[label_id], overall) for own, label_id in evaluation.function_labels.items()}


def best_thresholds(
    evaluation: Evaluation, *, precision: float | None = None, seconds: CorrectionSeconds | None = None
) -> dict[str, float]:
    """Choose a threshold for each label.

    The threshold for F1 is that of a smoothed curve (`ScoreCurve.smoothed_best_threshold`), with the curve of
    all labels as a prior: the threshold with the highest F1 on these images (`best_threshold`) would overfit
    to labels with few objects. The threshold for time is chosen alike; a label that costs more than it saves
    at every threshold gets 1.0.

    Args:
        evaluation: The evaluation.
        precision: The precision to reach with the highest recall; a label that does not reach it gets 1.0.
            None maximizes F1, or saved time.
        seconds: Maximize the time that the function saves, by these seconds of each action.
    """
    thresholds = {}
    for name in evaluation.by_label:
        threshold = _threshold(evaluation, name, precision, seconds)
        thresholds[name] = 1.0 if threshold is None else threshold
    return thresholds


def write_thresholds(thresholds: dict[str, float], file: Path) -> None:
    """Write thresholds as JSON, which `--label-thresholds` reads.

    Raises:
        StorageError: The file cannot be written.
    """
    text = json.dumps({name: round(threshold, 4) for name, threshold in thresholds.items()}, indent=2)
    write_text(file, f"{text}\n")


def _threshold(
    evaluation: Evaluation,
    label: str | None,
    precision: float | None,
    seconds: CorrectionSeconds | None,
) -> float | None:
    curve = evaluation.curve if label is None else evaluation.by_label[label].curve
    if precision is not None:
        return curve.threshold_at_precision(precision)
    if label is not None:
        curve = curve.with_prior(evaluation.curve, PRIOR_OBJECTS)
    if seconds is None:
        return curve.smoothed_best_threshold()
    return _threshold_for_time(curve, _saved_seconds(evaluation, seconds))


def _saved_seconds(evaluation: Evaluation, seconds: CorrectionSeconds) -> Objective:
    """What a threshold is worth: the seconds that the detections above it save."""
    each = seconds_by_detection(evaluation, seconds)

    def saved(_truth: float, found: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
        return each.right * found - each.wrong * wrong

    return saved


def _threshold_for_time(curve: ScoreCurve, saved: Objective) -> float | None:
    """The threshold that saves most; 1.0 if every threshold costs more than it saves."""
    threshold = curve.smoothed_best_threshold(saved)
    if threshold is None:
        return None
    return min(threshold, 1.0) if saved(0, *curve.counts_at(threshold)) > 0 else 1.0
