"""Compares ground-truth and predicted shapes that are on disk, some frames at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from prefect_cvat.evaluation.evaluator import Evaluator
from prefect_cvat.evaluation.inputs.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.evaluation.inputs.coco_conversion import Comparison, compare_in_coco, outlined_labels
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.frames import Frame
from prefect_cvat.models import Label
from prefect_cvat.planning.planned_frames import PlannedFrames

__all__ = ["ComparedShapes"]

_SHAPES_AT_ONCE = 2000
"""Maximum number of shapes compared at a time, unless one frame has more."""

IOU_TYPES: tuple[IouType, ...] = ("bbox", "segm", "keypoints")

Shapes = list[dict[str, Any]]


class ComparedShapes:
    """Ground-truth and predicted shapes on the evaluated frames.

    Attributes:
        frames: The evaluated frames.

    Args:
        frames: The evaluated frames.
        labels: The labels of the task.
        truth: The ground-truth shapes.
        predicted: The predicted shapes.
        wanted: Ids of the labels whose ground truth is evaluated; None for all.
    """

    def __init__(
        self,
        frames: PlannedFrames,
        labels: Sequence[Label],
        truth: AnnotationsByFrame,
        predicted: AnnotationsByFrame,
        wanted: Collection[int] | None,
    ) -> None:
        self.frames = frames
        self._labels = labels
        self._truth = truth
        self._predicted = predicted
        self._wanted = wanted
        self._outlined: Collection[int] | None = None

    @property
    def outlined(self) -> Collection[int]:
        """Ids of the labels that are compared by masks too: with outlines on both sides, or as was set.

        Raises:
            StorageError: The shapes cannot be read from disk.
        """
        if self._outlined is None:
            has_outlines = self._truth.outlined & self._predicted.outlined  # else one pass is enough
            parts = ((own, theirs) for _, own, theirs in self._parts()) if has_outlines else ()
            self._outlined = outlined_labels(parts)
        return self._outlined

    @outlined.setter
    def outlined(self, labels: Collection[int]) -> None:
        self._outlined = labels

    def evaluate(self, *, iou_threshold: float, score_threshold: float) -> dict[IouType, Evaluation]:
        """Compute the metrics for each IoU type with shapes.

        Raises:
            ResponseTooLargeError: A frame has too many shapes.
            InvalidResponseError: A shape is invalid.
            StorageError: The shapes cannot be read from disk.
        """
        evaluators = {
            iou_type: Evaluator(iou_type, iou_threshold=iou_threshold, score_threshold=score_threshold)
            for iou_type in IOU_TYPES
        }
        iou_types: set[IouType] = set()
        for frames, truth, predicted in self._parts():
            for iou_type, comparison in self._compare(frames, truth, predicted).items():
                evaluators[iou_type].add(comparison.truth, comparison.predictions)
                iou_types.add(iou_type)
        return {iou_type: evaluators[iou_type].result() for iou_type in IOU_TYPES if iou_type in iou_types}

    def on(self, number: int) -> dict[IouType, Comparison]:
        """The shapes on a frame, by IoU type; none on a frame of which only tags are evaluated.

        Raises:
            StorageError: The shapes cannot be read from disk.
        """
        if not self.frames.has(number):
            return {}
        return self._compare([self.frames.by_number[number]], *self._shapes_on(number))

    def _compare(
        self, frames: Sequence[Frame], truth: Shapes, predicted: Shapes
    ) -> dict[IouType, Comparison]:
        return compare_in_coco(frames, self._labels, truth, predicted, self.outlined)

    def _parts(self) -> Iterator[tuple[list[Frame], Shapes, Shapes]]:
        frames: list[Frame] = []
        truth: Shapes = []
        predicted: Shapes = []
        for frame in self.frames:
            own, theirs = self._shapes_on(frame.number)
            if frames and len(truth) + len(predicted) + len(own) + len(theirs) > _SHAPES_AT_ONCE:
                yield frames, truth, predicted
                frames, truth, predicted = [], [], []
            frames.append(frame)
            truth += own
            predicted += theirs
        if frames:
            yield frames, truth, predicted

    def _shapes_on(self, number: int) -> tuple[Shapes, Shapes]:
        truth = self._truth.of(number)
        if self._wanted is not None:
            truth = [shape for shape in truth if shape["label_id"] in self._wanted]
        return truth, self._predicted.of(number)
