"""A run that annotates the frames of a task with what a detection function finds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from typing import ClassVar

from prefect_cvat.annotations.existing_annotations import ExistingAnnotations
from prefect_cvat.annotations.label_remapping import Annotations, LabelRemapper
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import ChunkBatch, Frame, FrameDetections
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.inference.detection_cache import DetectionCache, KeptDetections
from prefect_cvat.inference.detector import Detector
from prefect_cvat.inference.provenance import model_names
from prefect_cvat.media.frame_reader import OpenChunk, open_frames
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.confidence_thresholds import score_thresholds
from prefect_cvat.planning.label_mapping import LabelMapping, build_mapping
from prefect_cvat.planning.plan import Batch
from prefect_cvat.planning.run_attributes import RunAttributes
from prefect_cvat.runs.run import BatchDetections, Run

__all__ = ["AnnotateRun"]

PACK = 1500
"""How many annotations, about, are written in one request."""


class AnnotateRun(Run):
    """A run of a detection function on a task.

    Attributes:
        reviews_shapes: Whether shapes are what is to be looked at, each on its frame.
        keeps_parts: Whether a shape that the edge of its image cuts apart becomes several.
    """

    leaves_out_annotated: ClassVar[bool] = True
    recognizes_refined: ClassVar[bool] = True
    reviews_shapes: ClassVar[bool] = True
    keeps_parts: ClassVar[bool] = True

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: DetectionFunction,
        options: Options,
        *,
        function_name: str | None = None,
    ) -> None:
        super().__init__(client, task_id, function, options, function_name=function_name)
        self.detector = Detector(
            function,
            conf_threshold=options.conf_threshold,
            conv_mask_to_poly=options.conv_mask_to_poly,
            on_frame_error=options.on_frame_error,
        )
        self._kept: KeptDetections | None = None
        self._remapper: LabelRemapper | None = None
        self._existing: ExistingAnnotations | None = None

    def validate_spec(self) -> LabelMapping:
        """Match the function's labels with the task's.

        Raises:
            BadFunctionError: They do not match.
        """
        info = self.plan.info
        mapping = build_mapping(
            self.detector.labels,
            info.labels,
            label_map=self.options.label_map,
            allow_unmatched_labels=self.options.allow_unmatched_labels,
            conv_mask_to_poly=self.options.conv_mask_to_poly,
            ignore_case=self.options.ignore_case,
            task_name=f"task {info.task.id}",
        )
        thresholds = score_thresholds(
            self.detector.function,
            mapping,
            conf_threshold=self.options.conf_threshold,
            label_thresholds=self.options.label_thresholds,
        )
        self.detector.fit_to(mapping)
        self.detector.conf_threshold = thresholds.asked
        if self.options.skip_existing_iou is not None:
            self._existing = ExistingAnnotations(
                self.client,
                self.plan,
                self.options.skip_existing_iou,
                self.options.skip_existing_source,
            )
        self._remapper = LabelRemapper(
            mapping,
            thresholds=thresholds.by_label,
            summarize=self.reviews_shapes and self.options.frames_to_rank > 0,
            run_attributes=RunAttributes(
                info.labels,
                # on a track, a value that changes with each frame would make each a keyframe
                score=self.options.score_attribute if self.reviews_shapes else None,
                model=self.options.model_attribute,
                model_names=model_names(self.report.function, self.detector.function),
            ),
            keep_parts=self.keeps_parts,
        )
        self.report.unmatched_labels = [one_line(label) for label in mapping.unmatched]
        self.provenance.labels = mapping.by_name()
        if self.options.use_cache:
            self.report.not_kept = self._function_digest.why_none
        if self.options.use_cache and self._function_digest.digest is not None:
            self._kept = KeptDetections(
                DetectionCache(),
                self.detector.check_cached,
                refresh=self.options.refresh_cache,
                server=server_identity(self.client.url),
                task=self.task_id,
                media=info.meta.chunks_updated_date,
                quality=self.options.quality,
                function=self._function_digest.digest,
                conf_threshold=thresholds.asked,
                conv_mask_to_poly=self.options.conv_mask_to_poly,
            )
        return mapping

    def fetch_batch(self, batch: Batch) -> ChunkBatch:
        """Download the chunks of a batch, and the existing annotations there if what overlaps is left out."""
        self.read_existing(batch)
        return super().fetch_batch(batch)

    def read_existing(self, batch: Batch) -> None:
        """Read what is annotated on the frames of a batch, if what overlaps with that is left out."""
        if self._existing is not None:
            with self._named(batch), self._timed("fetch"):
                self._existing.read(batch)

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Put what was found into the labels of the task, and empty what held it."""
        assert self._remapper is not None
        with self._named(batch), self._timed("remap"):
            by_number = {frame.number: frame for frame in batch.frames}
            existing = None if self._existing is None else self._existing.take(batch)
            annotations = self._remapper.remap(detections.taken(), by_number, pack_at=PACK, existing=existing)
        annotations.pack()
        return annotations

    def _look_at(
        self, frames: Sequence[Frame], box: ChunkBatch, open_chunk: OpenChunk
    ) -> list[FrameDetections]:
        with closing(open_frames(box, frames, open_chunk=open_chunk)) as opened:
            found = list(self.detector.detect(opened))
        if self._kept is not None:
            for (chunk, _), of_part in groupby(found, lambda item: self.plan.part_of(item.frame)):
                self._kept.put(chunk, list(of_part))
        return found

    def _count_found(self, found: FrameDetections) -> int:
        return len(found.tags) + len(found.shapes)

    def _recall(self, _chunk: int, _frames: Sequence[int]) -> Sequence[FrameDetections] | None:
        return None if self._kept is None else self._kept.get(_chunk, _frames)
