"""The least scores of single labels, and what a function has to be asked for so that they hold."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from prefect_cvat.auto_annotation.function_calls import read_attribute
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.models import enum_value
from prefect_cvat.planning.label_mapping import LabelMapping

__all__ = ["ScoreThresholds", "score_thresholds"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoreThresholds:
    """From which scores on what a function finds is wanted.

    Attributes:
        requested: The least score that the function is asked for; None leaves it to the function.
        by_label: The least score of each label, by the function's label ids.
    """

    requested: float | None
    by_label: dict[int, float]


def score_thresholds(
    function: DetectionFunction,
    mapping: LabelMapping,
    *,
    conf_threshold: float | None = None,
    label_thresholds: Mapping[str, float] | None = None,
) -> ScoreThresholds:
    """Choose the confidence threshold for the function, and the thresholds that filter its detections.

    A function takes one threshold for all labels. So it gets the lowest threshold of any label,
    and what is below the thresholds of the other labels is left out of its answers. Labels without a
    threshold of their own have `conf_threshold`, or else that of the function, as it tells it in
    `score_threshold`. Of a function that does not tell, thresholds below its own have an effect only if all
    labels that are mapped have one. Tags have no score to leave them out by: a function that finds tags is
    asked as if no label had a threshold.

    Args:
        function: A detection function.
        mapping: Where its labels go.
        conf_threshold: The least score of labels without one of their own; None leaves it to the function.
        label_thresholds: The least scores of single labels, by the function's label names.

    Raises:
        ValueError: A threshold is no number from 0 to 1, or for a label that the function does not have.
    """
    own = dict(label_thresholds or {})
    for name, threshold in own.items():
        if name not in mapping.names.values():
            raise ValueError(
                f"{argument('label_thresholds')} speaks of label {name!r}, which the function does not have"
            )
        # JSON has truth values, which Python takes for 1 and 0
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ValueError(
                f"{argument('label_thresholds')}: that of label {name!r} must be a number between 0 and 1,"
                f" not {threshold!r}"
            )
    threshold_of_unlisted = conf_threshold
    requested = conf_threshold
    mapped = [mapping.names[label_id] for label_id, target in mapping.targets.items() if target is not None]
    wanted = [own[name] for name in mapped if name in own]
    if wanted and not any(_is_tag(label) for label in function.spec.labels):
        threshold_of_unlisted = (
            _own_threshold(function) if threshold_of_unlisted is None else threshold_of_unlisted
        )
        if threshold_of_unlisted is not None:
            requested = min(wanted) if min(wanted) < threshold_of_unlisted else conf_threshold
        elif len(wanted) == len(mapped):
            requested = min(wanted)
        else:
            logger.info(
                "%s does not tell its own score_threshold: %s below it have no effect. Give %s, or a"
                " threshold for each of its labels",
                type(function).__name__,
                argument("label_thresholds"),
                argument("conf_threshold"),
            )
    default = 0.0 if threshold_of_unlisted is None else threshold_of_unlisted
    return ScoreThresholds(
        requested, {label_id: own.get(name, default) for label_id, name in mapping.names.items()}
    )


def _is_tag(label: Any) -> bool:
    return enum_value(getattr(label, "type", None)) == "tag"


def _own_threshold(function: DetectionFunction) -> float | None:
    """The `score_threshold` of a function, or None."""
    threshold = read_attribute(function, "score_threshold")
    if isinstance(threshold, int | float) and math.isfinite(threshold):
        return float(threshold)
    return None
