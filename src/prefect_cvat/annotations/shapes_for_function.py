"""Existing shapes in the labels of a function, for a function that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prefect_cvat.annotations.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.auto_annotation.existing_shapes import ExistingShape
from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.bounding_box import bounding_box
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job
from prefect_cvat.planning.label_mapping import LabelMapping
from prefect_cvat.planning.plan import Batch, Plan

__all__ = ["ShapesForFunction", "has_automatic_shapes"]


def has_automatic_shapes(client: Client, plan: Plan, mapping: LabelMapping) -> bool:
    """Whether shapes of source `auto`, or such tracks, are on the frames of a plan, in labels of a function.

    Raises:
        PrefectCvatError: A request to the server failed.
    """
    label_ids = {target.id for target in mapping.targets.values() if target is not None}

    def is_on_a_frame(kind: str, annotation: Mapping[str, Any], job: Job) -> bool:
        if kind == "tracks":
            first = max(annotation["frame"], job.start_frame)
            frames = plan.frames_between(first, job.stop_frame).numbers
            return any(interpolate(annotation, int(number)) is not None for number in frames)
        return kind == "shapes" and plan.frames.has(annotation["frame"])

    return any(
        annotation.get("source") == "auto"
        and annotation["label_id"] in label_ids
        and is_on_a_frame(kind, annotation, job)
        for job in plan.jobs
        for kind, annotation in client.iter_job_annotations(job.id)
    )


class ShapesForFunction:
    """The existing shapes on the frames of the batches in work.

    Args:
        annotations: The annotations of the jobs of the plan.
        mapping: The label mapping; shapes of labels that the function does not have are left out.
        deleted: Returns the shapes that were deleted on a frame.
    """

    def __init__(
        self,
        annotations: AnnotationsByFrame,
        mapping: LabelMapping,
        deleted: Callable[[int], Iterable[Mapping[str, Any]]],
    ) -> None:
        self._annotations = annotations
        self._deleted = deleted
        self._label_ids: dict[int, int] = {}
        for label_id, target in mapping.targets.items():
            if target is not None:
                self._label_ids.setdefault(target.id, label_id)
        self._shapes: dict[int, tuple[ExistingShape, ...]] = {}

    def take(self, batch: Batch) -> None:
        """Take the shapes on the frames of a batch that was read."""
        found: dict[int, dict[ExistingShape, None]] = {frame.number: {} for frame in batch.frames}
        for _, number, annotation in self._annotations.take(batch, "function"):
            if (shape := self._shape(annotation)) is not None:
                found[number][shape] = None  # jobs that overlap have copies of it
        for number, of_frame in found.items():
            for deleted in self._deleted(number):
                if (shape := self._shape(deleted, is_deleted=True)) is not None:
                    of_frame[shape] = None
        self._shapes |= {number: tuple(shapes) for number, shapes in found.items()}

    def on_frame(self, frame: Frame) -> tuple[ExistingShape, ...]:
        """The shapes on a frame; none if its batch is not in work."""
        return self._shapes.get(frame.number, ())

    def release(self, batch: Batch) -> None:
        """Release the shapes on the frames of a batch."""
        for frame in batch.frames:
            self._shapes.pop(frame.number, None)

    def _shape(self, annotation: Mapping[str, Any], *, is_deleted: bool = False) -> ExistingShape | None:
        label_id = self._label_ids.get(annotation["label_id"])
        is_empty = not annotation.get("points") and not annotation.get("elements")
        if "type" not in annotation or label_id is None or is_empty:
            return None
        return ExistingShape(
            label_id=label_id,
            type=annotation["type"],
            points=tuple(annotation.get("points") or ()),
            rotation=annotation.get("rotation") or 0.0,
            box=bounding_box(annotation),
            source=annotation.get("source") or "manual",
            is_deleted=is_deleted,
        )
