"""A detection function that answers calls of CVAT, several images at a time where it can take them."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.exceptions import BadFunctionError, PrefectCvatError
from prefect_cvat.frames import Frame, UnnumberedFrame
from prefect_cvat.gateway.calls import DetectorCall
from prefect_cvat.gateway.configuration import ServedFunction
from prefect_cvat.gateway.detector_answers import detector_items, encode_items
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.shown_labels import ShownLabel
from prefect_cvat.inference.detector import Detector
from prefect_cvat.planning.confidence_thresholds import ScoreThresholds, score_thresholds
from prefect_cvat.planning.label_mapping import LabelMapping, LabelTarget

__all__ = ["DetectionService"]

MAX_GROUP = 10**9
"""The first group of an answer is below it; CVAT stores groups in 31 bits."""

Outcome = tuple[bytes | Refusal | PrefectCvatError, Counter[str]]
"""The answer to a call, or why there is none; and what of it CVAT does not get."""


class DetectionService:
    """A loaded detection function.

    Args:
        function: The function.
        entry: Its entry in the configuration.
        shown: Its labels, as CVAT shows them.

    Raises:
        BadFunctionError: It is not a detection function.
    """

    def __init__(self, function: Any, entry: ServedFunction, shown: Mapping[int, ShownLabel]) -> None:
        self._detector = Detector(function, on_frame_error="skip")
        self._entry = entry
        self._shown = shown
        self._mapping = _mapping(self._detector.labels, shown)

    @property
    def max_batch(self) -> int:
        """How many calls run together."""
        try:
            return self._detector.images_per_call()
        except BadFunctionError:  # the call itself says so
            return 1

    def run(self, calls: Sequence[DetectorCall]) -> list[Outcome]:
        """Run calls with the same threshold; the error of one image is not that of the others.

        Raises:
            DeviceError: The GPU of the function failed.
        """
        try:
            thresholds = self._thresholds(calls[0].threshold)
        except PrefectCvatError as error:
            return [(error, Counter()) for _ in calls]
        self._detector.conf_threshold = thresholds.requested
        opened = []
        for number, call in enumerate(calls):
            frame = call.image.frame
            opened.append(
                (UnnumberedFrame(number, frame.name, frame.width, frame.height), call.image.decode())
            )
        found = self._detector.detect(opened)
        return [self._answer(frame, each, thresholds) for (frame, _), each in zip(opened, found, strict=True)]

    def _answer(self, frame: Frame, found: Any, thresholds: ScoreThresholds) -> Outcome:
        losses: Counter[str] = Counter()
        if found.error is not None:
            return BadFunctionError(found.error), losses
        items = detector_items(
            found,
            self._shown,
            (frame.width, frame.height),
            thresholds=thresholds.by_label,
            first_group=secrets.randbelow(MAX_GROUP),
            losses=losses,
        )
        return encode_items(items), losses

    def _thresholds(self, wanted: float | None) -> ScoreThresholds:
        return score_thresholds(
            self._detector.function,
            self._mapping,
            conf_threshold=self._entry.conf_threshold if wanted is None else wanted,
            label_thresholds=self._entry.label_thresholds,
        )


def _mapping(labels: Sequence[Any], shown: Mapping[int, ShownLabel]) -> LabelMapping:
    """The labels that are shown, as if they were those of a task."""
    targets: dict[int, LabelTarget | None] = {}
    for label in labels:
        target = LabelTarget(label.id, label.name, "any", {}, {}, frozenset())
        targets[label.id] = target if label.id in shown else None
    return LabelMapping(targets, {label.id: label.name for label in labels})
