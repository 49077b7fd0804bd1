"""Finds detections that are annotated already, so that a run does not add them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_cvat.annotations.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.iou import ComparableShape
from prefect_cvat.models import is_manual
from prefect_cvat.options.existing_annotation_options import ExistingSource
from prefect_cvat.planning.plan import Batch

__all__ = ["ExistingAnnotations", "ExistingOnFrame"]


class ExistingOnFrame:
    """The existing annotations on one frame.

    Args:
        frame: The frame.
        min_iou: The minimum IoU from which two shapes with the same label are the same object.
        jobs: The ids of the jobs that contain the frame. An automatic annotation is compared only if all
            of them have it: a killed run may have written a frame to one job and not to the other.
    """

    def __init__(self, frame: Frame, min_iou: float, jobs: Iterable[int]) -> None:
        self._manual = _Annotations(frame, min_iou)
        self._by_job = {job_id: _Annotations(frame, min_iou) for job_id in jobs}

    def add(self, job_id: int, annotation: Mapping[str, Any]) -> None:
        """Add a tag or a shape of a job."""
        self._by_job[job_id].add(annotation)
        if is_manual(annotation):
            self._manual.add(annotation)

    def include(self, annotation: Mapping[str, Any]) -> bool:
        """Whether there is a tag with the same label, or a shape with the same label and enough IoU."""
        return self._manual.include(annotation) or all(
            of_job.include(annotation) for of_job in self._by_job.values()
        )


class _Annotations:
    """Annotations on a frame, by label."""

    def __init__(self, frame: Frame, min_iou: float) -> None:
        self._frame = frame
        self._min_iou = min_iou
        self._tags: set[int] = set()
        self._shapes: dict[int, list[ComparableShape]] = {}

    def add(self, annotation: Mapping[str, Any]) -> None:
        label_id = annotation["label_id"]
        if "type" in annotation:
            self._shapes.setdefault(label_id, []).append(ComparableShape(annotation, self._frame))
        else:
            self._tags.add(label_id)

    def include(self, annotation: Mapping[str, Any]) -> bool:
        label_id = annotation["label_id"]
        if "type" not in annotation:
            return label_id in self._tags
        shapes = self._shapes.get(label_id)
        if not shapes:
            return False
        shape = ComparableShape(annotation, self._frame)
        return any(shape.iou(other) >= self._min_iou for other in shapes)


class ExistingAnnotations:
    """The existing annotations to compare with, on the frames of a plan. It can be used by several threads.

    Args:
        annotations: The annotations of the jobs of the plan.
        min_iou: The minimum IoU from which two shapes with the same label are the same object.
        source: Which existing annotations to compare with: manual, automatic, or all.
    """

    def __init__(
        self,
        annotations: AnnotationsByFrame,
        min_iou: float,
        source: ExistingSource = ExistingSource.MANUAL,
    ) -> None:
        self._annotations = annotations
        self._min_iou = min_iou
        self._source = source

    def take(self, batch: Batch) -> dict[int, ExistingOnFrame]:
        """The existing annotations on the frames of a batch that was read, by frame; they are released."""
        on_frames = {
            frame.number: ExistingOnFrame(frame, self._min_iou, self._annotations.jobs_of(frame.number))
            for frame in batch.frames
        }
        for job_id, number, annotation in self._annotations.take(batch, "existing"):
            if self._source.includes(annotation):
                on_frames[number].add(job_id, annotation)
        return on_frames
