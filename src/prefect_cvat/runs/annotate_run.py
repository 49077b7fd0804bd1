"""A run that writes the detections of a function to a task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import ClassVar

from prefect_cvat.annotations.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.annotations.existing_annotations import ExistingAnnotations
from prefect_cvat.annotations.remapped_detections import Annotations, LabelRemapper
from prefect_cvat.annotations.shapes_for_function import ShapesForFunction, has_automatic_shapes
from prefect_cvat.auto_annotation.function_calls import check_sees_single_images, read_attribute
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.corrections.deleted_shapes import DeletedShapes
from prefect_cvat.exceptions import BadFunctionError, RunStoppedError
from prefect_cvat.frames import BatchDetections, ChunkBatch, Frame, FrameDetections
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.inference.detection_cache import CachedDetections, DetectionCache
from prefect_cvat.inference.detector import Detector
from prefect_cvat.inference.provenance import model_names
from prefect_cvat.media.spooled_chunks import BatchChunks
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.options.existing_annotation_options import Existing, ExistingSource
from prefect_cvat.planning.confidence_thresholds import (
    ScoreThresholds,
    review_thresholds,
    score_thresholds,
)
from prefect_cvat.planning.label_mapping import LabelMapping, build_mapping
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.planning.run_attributes import RunAttributes
from prefect_cvat.runs.execution.batch_images import BatchImages
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.runs.learned_options import LearnedOptions, learned_options

__all__ = ["AnnotateRun", "PlannedAnnotateRun"]

PACK = 1500
"""Approximate number of annotations in a request."""


class AnnotateRun(Run):
    """A run of a detection function on a task.

    Attributes:
        follows_objects: Whether this kind of run takes a function that follows objects over frames.

    Raises:
        BadFunctionError: It is not a detection function, or one that follows objects.
    """

    leaves_out_annotated: ClassVar[bool] = True
    follows_objects: ClassVar[bool] = False

    def _use(self, function: DetectionFunction) -> None:
        if not self.follows_objects:
            check_sees_single_images(function)
        self.detector = Detector(
            function,
            conf_threshold=self.options.conf_threshold,
            conv_mask_to_poly=self.options.conv_mask_to_poly,
            on_frame_error=self.options.on_frame_error,
        )

    def _plan(self, workspace: Workspace) -> PlannedAnnotateRun:
        plan = self._read_plan()
        return PlannedAnnotateRun(self.context, plan, workspace, self.detector)


class PlannedAnnotateRun(PlannedRun[Annotations]):
    """The stages of a run of a detection function.

    Args:
        context: The server, options and report.
        plan: The plan of the run.
        workspace: The folder and the lock.
        detector: The function.

    Attributes:
        reviews_shapes: Whether frames are ranked for review by their shapes.
        keeps_all_parts: Whether a shape that is clipped into several parts becomes several shapes.
    """

    recognizes_refined: ClassVar[bool] = True
    reviews_shapes: ClassVar[bool] = True
    keeps_all_parts: ClassVar[bool] = True

    def __init__(self, context: RunContext, plan: Plan, workspace: Workspace, detector: Detector) -> None:
        super().__init__(context, plan, workspace)
        self.detector = detector
        self._cached: CachedDetections | None = None
        self._annotations: AnnotationsByFrame | None = None
        self._existing: ExistingAnnotations | None = None
        self._shapes: ShapesForFunction | None = None
        self._batch_images = BatchImages(detector, plan, self._chunks, self._frames_to_detect)
        self._function_reads_shapes = bool(read_attribute(detector.function, "reads_existing_shapes"))
        readers = self._function_reads_shapes + (self.options.skip_existing_iou is not None)
        if readers:
            self._annotations = AnnotationsByFrame(self.client, plan, readers)
            if self.options.skip_existing_iou is not None:
                self._existing = ExistingAnnotations(
                    self._annotations, self.options.skip_existing_iou, self.options.skip_existing_source
                )

    def close(self) -> None:
        """Close the images of the next batch too."""
        self._batch_images.close()
        super().close()

    def validate_spec(self) -> LabelMapping:
        """Match the function's labels with the task's.

        Raises:
            BadFunctionError: They do not match.
        """
        mapping = self._mapping
        requested = self._thresholds.requested
        self.detector.fit_to(mapping)
        self.detector.conf_threshold = requested
        self.context.provenance.label_thresholds = dict(self._learned.label_thresholds)
        self.report.learned = self._learned.summary
        self.report.unmatched_labels = [one_line(label) for label in mapping.unmatched]
        self.context.provenance.labels = mapping.by_name()
        self.context.provenance.learned_labels = dict(self._learned.learned_labels)
        if self._function_reads_shapes:
            self._show_existing_shapes(mapping)
        if self.options.use_cache and (why_not := self._why_not_cached()):
            self.report.not_kept = why_not
        elif self.options.use_cache:
            digest = self.context.function_digest
            self.report.not_kept = digest.why_none
            if digest.digest is not None:
                self._cached = CachedDetections(
                    DetectionCache(),
                    self.detector.check_cached,
                    refresh=self.options.refresh_cache,
                    server=server_identity(self.client.url),
                    task=self.context.task_id,
                    media=self.plan.info.meta.chunks_updated_date,
                    quality=self.options.quality,
                    function=digest.digest,
                    conf_threshold=requested,
                    conv_mask_to_poly=self.options.conv_mask_to_poly,
                )
        return mapping

    def fetch_batch(self, batch: Batch) -> ChunkBatch:
        """Start downloading the chunks of a batch; read the existing annotations on its frames if needed."""
        chunks = super().fetch_batch(batch)
        self.read_existing(batch)
        self._batch_images.add(batch, chunks)
        return chunks

    def read_existing(self, batch: Batch) -> None:
        """Read the existing annotations on the frames of a batch, if they are needed."""
        if self._annotations is not None:
            with self.context.working_on(batch), self.context.timing("fetch"):
                self._annotations.read(batch)
                if self._shapes is not None:
                    self._shapes.take(batch)

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Map detections to the labels of the task, and release them."""
        with self.context.working_on(batch), self.context.timing("remap"):
            by_number = {frame.number: frame for frame in batch.frames}
            existing = None if self._existing is None else self._existing.take(batch)
            annotations = self._remapper.remap(detections.taken(), by_number, pack_at=PACK, existing=existing)
        annotations.pack()
        return annotations

    @cached_property
    def _learned(self) -> LearnedOptions:
        return learned_options(
            self.client.url,
            self.plan.info,
            self.report.function,
            self.context.provenance.version,
            self.detector.labels,
            self.options,
        )

    @cached_property
    def _mapping(self) -> LabelMapping:
        return build_mapping(
            self.detector.labels,
            self.plan.info.labels,
            label_map=self._learned.label_map,
            allow_unmatched_labels=self.options.allow_unmatched_labels,
            conv_mask_to_poly=self.options.conv_mask_to_poly,
            ignore_case=self.options.ignore_case,
            task_name=f"task {self.plan.info.task.id}",
        )

    @cached_property
    def _thresholds(self) -> ScoreThresholds:
        conf_threshold, by_label = self.options.conf_threshold, self._learned.label_thresholds
        function, mapping = self.detector.function, self._mapping
        thresholds = score_thresholds(
            function, mapping, conf_threshold=conf_threshold, label_thresholds=by_label
        )
        at = self.options.review_threshold
        if not self._ranks_shapes or (at is None and self._learned.probability is None):
            return thresholds
        return review_thresholds(
            function,
            mapping,
            thresholds,
            conf_threshold=conf_threshold,
            label_thresholds=by_label,
            review_threshold=at,
        )

    @property
    def _ranks_shapes(self) -> bool:
        """Whether frames are ranked for review by what is detected on them."""
        return self.reviews_shapes and self.options.frames_to_rank > 0

    @cached_property
    def _remapper(self) -> LabelRemapper:
        return LabelRemapper(
            self._mapping,
            thresholds=self._thresholds.by_label,
            summarize=self._ranks_shapes,
            review_from=self._thresholds.review,
            probability=self._learned.probability,
            run_attributes=RunAttributes(
                self.plan.info.labels,
                # a value that changes on each frame would make each frame of a track a keyframe
                score=self.options.score_attribute if self.reviews_shapes else None,
                model=self.options.model_attribute,
                model_names=model_names(self.report.function, self.detector.function),
            ),
            keep_all_parts=self.keeps_all_parts,
        )

    def _missed_per_frame(self) -> float | None:
        return self._learned.missed_per_frame if self.reviews_shapes else None

    def _run_function(
        self, batch: Batch, frames: Sequence[Frame], chunks: ChunkBatch, source: BatchChunks
    ) -> list[FrameDetections]:
        with self._batch_images.of_batch(batch, frames, chunks, source) as images:
            found = []
            for detections in self.detector.detect_fed(images):
                if self.context.stopped.is_set():  # it does not wait for the rest of the batch
                    raise RunStoppedError(f"task {self.context.task_id}, {batch}: the run was stopped")
                found.append(detections)
        if self._shapes is not None:
            self._shapes.release(batch)
        if self._cached is not None:
            for (chunk, _), of_part in groupby(found, lambda item: self.plan.part_of(item.frame)):
                self._cached.put(chunk, list(of_part))
        return found

    def _show_existing_shapes(self, mapping: LabelMapping) -> None:
        """Show the function the shapes that are on its frames already.

        Raises:
            BadFunctionError: The run removes them, or would write objects again that it keeps.
        """
        why_not = ""
        if self.options.existing is Existing.CLEAR:
            why_not = f"{argument('existing', 'clear')} removes them"
        elif self._may_write_twice(mapping):
            why_not = "there are automatic ones already, which would be written twice"
        if why_not:
            raise BadFunctionError(
                f"{self.report.function} starts from shapes that are in the task, and {why_not};"
                f" use {argument('existing', 'replace_auto')}"
            )
        assert self._annotations is not None
        deleted = DeletedShapes(self.client, self.plan)
        self._shapes = ShapesForFunction(self._annotations, mapping, deleted.on_frame)
        self.detector.show_existing_shapes(self._shapes.on_frame)

    def _may_write_twice(self, mapping: LabelMapping) -> bool:
        """Whether the run keeps shapes that it may find again elsewhere, as it sees other shapes now."""
        if self.options.existing is not Existing.KEEP:
            return False
        if self._existing is not None and self.options.skip_existing_source is not ExistingSource.MANUAL:
            return False  # what overlaps with them is left out
        return has_automatic_shapes(self.client, self.plan, mapping)

    def _why_not_cached(self) -> str:
        """Why detections depend on more than an image; empty if they do not."""
        return "they depend on the shapes that are on the frames already" if self._shapes else ""

    def _count_found(self, found: FrameDetections) -> int:
        return len(found.tags) + len(found.shapes)

    def _read_cached(self, chunk: int, frames: Sequence[int]) -> Sequence[FrameDetections] | None:
        return None if self._cached is None else self._cached.get(chunk, frames)

    def _is_cached(self, chunk: int, frames: Sequence[Frame]) -> bool:
        return self._cached is not None and self._cached.has(chunk, [frame.number for frame in frames])
