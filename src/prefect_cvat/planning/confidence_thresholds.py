"""Confidence thresholds of labels, and the threshold to pass to the function."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from prefect_cvat.auto_annotation.function_calls import read_attribute
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.models import enum_value
from prefect_cvat.planning.label_mapping import LabelMapping

__all__ = ["ScoreThresholds", "review_thresholds", "score_thresholds"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoreThresholds:
    """The confidence thresholds of a run.

    Attributes:
        requested: The threshold passed to the function, 0 to 1; None for the function's own.
        by_label: The threshold of each label, 0 to 1, by the function's label ids.
        review: The threshold from which detections count for the review, likewise; empty if they do not.
    """

    requested: float | None
    by_label: dict[int, float]
    review: dict[int, float] = field(default_factory=dict)

    def with_review(self, mapping: LabelMapping, thresholds: Mapping[int, float]) -> ScoreThresholds:
        """These thresholds with others for the review, which the function gets if they are lower."""
        mapped = [thresholds[label_id] for label_id, target in mapping.targets.items() if target is not None]
        requested = min(mapped) if self.requested is None else min(self.requested, *mapped)
        return ScoreThresholds(requested, self.by_label, dict(thresholds))


def score_thresholds(
    function: DetectionFunction,
    mapping: LabelMapping,
    *,
    conf_threshold: float | None = None,
    label_thresholds: Mapping[str, float] | None = None,
) -> ScoreThresholds:
    """Choose the confidence threshold for the function, and the thresholds that filter its detections.

    A function takes one threshold for all labels. It gets the lowest threshold of all labels, and its
    detections are filtered by the thresholds of their labels. Labels without a threshold use
    `conf_threshold`, or else the function's `score_threshold`. If the function has no `score_threshold`,
    label thresholds below its own default take effect only if all mapped labels have a threshold. Tags have
    no score and cannot be filtered, so label thresholds do not change the threshold of a function with tags.

    Args:
        function: A detection function.
        mapping: The label mapping.
        conf_threshold: The threshold of labels without their own; None for the function's own.
        label_thresholds: Thresholds of labels, by the function's label names.

    Raises:
        ValueError: A threshold is not a number from 0 to 1, or the function does not have its label.
    """
    own = dict(label_thresholds or {})
    for name, threshold in own.items():
        if name not in mapping.names.values():
            raise ValueError(
                f"{argument('label_thresholds')} names label {name!r}, which the function does not have"
            )
        # JSON booleans would pass as 1 and 0
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
                "%s has no attribute score_threshold: %s below its own have no effect. Set %s, or a"
                " threshold for each of its labels",
                type(function).__name__,
                argument("label_thresholds"),
                argument("conf_threshold"),
            )
    default = 0.0 if threshold_of_unlisted is None else threshold_of_unlisted
    return ScoreThresholds(
        requested, {label_id: own.get(name, default) for label_id, name in mapping.names.items()}
    )


def review_thresholds(
    function: DetectionFunction,
    mapping: LabelMapping,
    thresholds: ScoreThresholds,
    *,
    conf_threshold: float | None,
    label_thresholds: Mapping[str, float] | None,
    review_threshold: float | None,
) -> ScoreThresholds:
    """Add the thresholds from which detections count for the review although they are not written.

    Args:
        function: A detection function.
        mapping: The label mapping.
        thresholds: The thresholds from which detections are written.
        conf_threshold: The threshold of labels without their own; None for the function's own.
        label_thresholds: Thresholds of labels, by the function's label names.
        review_threshold: The threshold for the review; None for half of each label's threshold, if that is
            possible.

    Returns:
        The thresholds; unchanged if `review_threshold` is None and half of the thresholds cannot be taken.

    Raises:
        ValueError: A threshold is given, and it is not known from which score on the function returns
            detections, or the function returns tags, which have no score.
    """
    own = _own_threshold(function) if conf_threshold is None else conf_threshold
    has_tags = any(_is_tag(label) for label in function.spec.labels)
    if own is None or has_tags:
        if review_threshold is None:
            return thresholds
        name = type(function).__name__
        why = f"{name} returns tags" if has_tags else f"{name} has no attribute score_threshold"
        mend = "leave it out" if has_tags else f"set {argument('conf_threshold')} too"
        raise ValueError(f"{argument('review_threshold')} has no effect, because {why}; {mend}")
    listed = label_thresholds or {}
    by_label = {
        label_id: threshold if mapping.names[label_id] in listed else own
        for label_id, threshold in thresholds.by_label.items()
    }
    known = ScoreThresholds(thresholds.requested, by_label)
    if review_threshold is None:
        return known.with_review(mapping, {label_id: each / 2 for label_id, each in by_label.items()})
    return known.with_review(mapping, dict.fromkeys(by_label, review_threshold))


def _is_tag(label: Any) -> bool:
    return enum_value(getattr(label, "type", None)) == "tag"


def _own_threshold(function: DetectionFunction) -> float | None:
    """The `score_threshold` of a function, or None."""
    threshold = read_attribute(function, "score_threshold")
    if isinstance(threshold, int | float) and math.isfinite(threshold):
        return float(threshold)
    return None
