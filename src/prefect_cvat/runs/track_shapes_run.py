"""A run that tracks existing shapes over the frames of a task with a tracking function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.auto_annotation.interface import TrackingFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import BatchDetections, ChunkBatch, Frame
from prefect_cvat.inference.shape_tracker import ShapeTracker
from prefect_cvat.media.frame_reader import open_frames, open_frames_reversed
from prefect_cvat.media.spooled_chunks import AHEAD, BatchChunks
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.planning.batch_size import PartQueue, take_parts
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.planning.whole_task import read_each_job
from prefect_cvat.records.annotation_index import StoredAnnotation
from prefect_cvat.review.frame_summary import FrameSummaries
from prefect_cvat.runs.execution.job_uploads import make_folder
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.runs.reports.frame_and_annotation_counts import count_clippings
from prefect_cvat.runs.track_detections_run import check_takes_tracks
from prefect_cvat.tracking.shape_tracking_pass import TrackedShapes, TrackingPass, tracking_passes
from prefect_cvat.tracking.source_shape_reader import SourceShapeReader
from prefect_cvat.tracking.source_shapes import SourceShapes
from prefect_cvat.tracking.track_merger import TrackMerger

__all__ = ["PlannedTrackShapesRun", "TrackShapesRun"]


class TrackShapesRun(Run):
    """A run of a tracking function on a task: it makes tracks from existing shapes.

    Args:
        client: The server.
        task_id: The id of the task.
        function: The tracking function.
        options: The options of the run. It must keep existing annotations, and fail on a frame error.
        tracking: Which shapes to track, and how far.
        function_name: The name of the function in the report.

    Raises:
        BadFunctionError: It is not a tracking function.
        ValueError: This kind of run does not support an option.
    """

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: TrackingFunction[Any, Any],
        options: Options,
        tracking: ShapeTrackingOptions,
        *,
        function_name: str | None = None,
    ) -> None:
        super().__init__(client, task_id, function, options, function_name=function_name)
        if options.existing is not Existing.KEEP:
            raise ValueError(
                f"tracking shapes keeps existing annotations; {argument('existing', options.existing)} is"
                " invalid"
            )
        if options.on_frame_error != "fail":
            raise ValueError(
                "shapes cannot be tracked over skipped frames; omit"
                f" {argument('on_frame_error', options.on_frame_error)}"
            )
        self.tracking = tracking
        self.provenance.take_options(tracking)

    def _use(self, function: TrackingFunction[Any, Any]) -> None:
        self._tracking_function = function
        self.types = ShapeTracker(function).supported_shape_types

    def _plan(self, workspace: Workspace) -> PlannedTrackShapesRun:
        plan = self._read_plan()
        check_takes_tracks(plan.info)
        reader = SourceShapeReader(plan, self.tracking, self.types)
        for job, held in read_each_job(self.client, plan.info, plan.jobs):
            reader.read(job.id, held)
        sources = reader.source_shapes()
        counts = sources.counts(in_tracks=False)
        self.report.nothing_to_do = self.report.nothing_to_do or reader.why_nothing()
        self.report.source_shapes = counts.total()
        self.report.source_shapes_left_out = dict(reader.left_out())
        if in_tracks := sources.counts(in_tracks=True).total():
            self.report.source_shapes_left_out["in a track already"] = in_tracks
        passes = tracking_passes(self._tracking_function, plan, sources, self.tracking) if counts else []
        numbers = [frame.number for each in passes for frame in (each.frames[0], each.frames[-1])]
        frames = plan.frames_between(min(numbers), max(numbers)) if numbers else plan.frames[:0]
        return PlannedTrackShapesRun(
            self.context,
            replace(plan, frames=frames),
            workspace,
            tracking=self.tracking,
            types=self.types,
            sources=sources,
            passes=passes,
            duplicates=reader.duplicates,
        )


class PlannedTrackShapesRun(PlannedRun[Annotations]):
    """The stages of a run that tracks existing shapes.

    The forward pass follows the backward pass, and their results are merged. A lost shape is not tracked
    further; a shape that is not tracked to any other frame makes no track and stays. Deleted and unselected
    frames are skipped: shapes on them are not tracked, and tracks are interpolated over them.

    All tracks are written at the end. Then the source shapes are removed, unless the options keep them or
    somebody has changed them.

    Args:
        context: The server, options and report.
        plan: The plan of the run.
        workspace: The folder and the lock.
        tracking: Which shapes to track, and how far.
        types: The types of shapes that the function can track.
        sources: The source shapes.
        passes: The passes over the frames.
        duplicates: Ids of jobs, each with a duplicate track of an earlier run.
    """

    kind: ClassVar[str] = "track_shapes"
    in_order: ClassVar[frozenset[str]] = frozenset({"detect_batch", "upload_batch"})
    sources: ClassVar[frozenset[str]] = frozenset({"auto", "semi-auto"})
    waits_for_late_writes: ClassVar[bool] = True

    def __init__(
        self,
        context: RunContext,
        plan: Plan,
        workspace: Workspace,
        *,
        tracking: ShapeTrackingOptions,
        types: frozenset[str],
        sources: SourceShapes,
        passes: Sequence[TrackingPass],
        duplicates: Sequence[tuple[int, StoredAnnotation]],
    ) -> None:
        super().__init__(context, plan, workspace)
        self._tracking = tracking
        self._types = types
        self._source_shapes = sources
        self._passes = passes
        self._pass_of: dict[int, TrackingPass] = {}  # by the index of the batch
        self._duplicates = duplicates
        self._tracks = TrackMerger(
            plan.jobs,
            sources,
            last_frame=plan.info.meta.size - 1,
            tolerance=tracking.tolerance,
            folder=make_folder(self.folder, "tracks"),
        )
        self._assembled: set[int] = set()
        self._tracked_frames = NumberSet()
        self._is_finished = False

    # --- the stages ---

    def validate_spec(self) -> frozenset[str]:
        """Return the types of shapes that the function can track; others are left out already."""
        return self._types

    def counts(self) -> Counter[str]:
        """Number of shapes to track by label name; copies in several jobs count once."""
        return self._source_shapes.counts(in_tracks=False)

    def batches(self) -> Iterator[Batch]:
        """Split the frames into batches of chunks or parts: first the backward pass, then the forward pass.

        Batches known to have no shapes to track are left out.
        """
        index = 0
        for each in self._passes:
            parts = PartQueue(each.parts(self.plan.part_of))
            while parts.first is not None:
                if not each.needs(parts.first[1]):
                    parts.take()
                    continue
                taken = take_parts(parts, self._batch_size.max_frames(len(self.plan.frames)))
                taken.sort(key=lambda part: part[1][0].number)
                numbers = [chunk for chunk, _ in taken]
                batch = Batch(index, numbers, [frame for _, of_part in taken for frame in of_part])
                self._pass_of[index] = each
                following = [] if parts.first is None else [parts.first[0]]
                self._chunks.reserve(batch, following, is_certain=False)
                yield batch
                index += 1
            self._chunks.need(AHEAD, ())  # the reserved part may have been left out

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Count the tracked shapes, and convert them to JSON."""
        result = Annotations()
        with self.context.working_on(batch), self.context.timing("remap"):
            for item in detections.taken():
                result.shapes.append({"frame": item.frame, "shapes": item.shapes})
                result.labels.update(
                    self._source_shapes.label(index).name
                    for index, is_source, _ in item.shapes
                    if not is_source
                )
            result.pack()
        return result

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Extend the tracks; return the number of new frames. Nothing is uploaded yet."""
        if batch.index in self._assembled:
            return annotations.frames
        with self.context.working_on(batch), self.context.timing("assemble"):
            items = [item for pack in annotations.packs() for item in pack]
            if self._pass_of[batch.index].is_backward:
                self._tracks.add_backward(items)
            else:
                self._tracks.add(items)
        annotations.empty()
        before = len(self._tracked_frames)
        self._tracked_frames.update(frame.number for frame in batch.frames)
        annotations.frames = len(self._tracked_frames) - before
        self._assembled.add(batch.index)
        self._count(annotations)
        return annotations.frames

    def finish_upload(self) -> None:
        """Upload the tracks, then remove the source shapes.

        The parts of a track in jobs with one of its source shapes are uploaded after all its other parts. So
        if a source shape is a keyframe of a track in its own job, the track is complete. After a killed run,
        the next run uses this to avoid tracking the remaining source shapes again.
        """
        tracks = self._tracks
        if not self._is_finished:
            with self.context.timing("assemble"):
                tracks.finish()
            self._is_finished = True
            self.report.tracks = tracks.labels()
            self.report.keyframes = tracks.keyframes
            self.report.track_frames = tracks.frames
            self.report.lost = sum(each.lost for each in self._passes)
            for each in self._passes:
                count_clippings(self.report, each.clippings)
            self.context.summaries = FrameSummaries(tracks.lost.each(self.plan.frames.by_number))
        with self.context.timing("upload"):
            for with_sources in (False, True):
                for job_id, number, pack in tracks.packs(with_sources=with_sources):
                    self.uploads.write(job_id, (with_sources, number), map(serialize, pack))
                self.uploads.verify(after_late_writes=True)
                if self.uploads.are_missing:
                    return  # a source shape in a track must mean that the track is complete
            for job_id, stored in self._duplicates:
                self.uploads.writers[job_id].remove_duplicates([stored])
            self.uploads.finish()
            if not self._tracking.keep_source_shapes:
                self._remove_source_shapes()

    # --- parts of stages ---

    def _run_function(
        self, batch: Batch, frames: Sequence[Frame], chunks: ChunkBatch, source: BatchChunks
    ) -> list[TrackedShapes]:
        each = self._pass_of[batch.index]
        opener = open_frames_reversed if each.is_backward else open_frames
        with closing(opener(chunks, frames, source=source)) as opened:
            found = [each.track(frame, image) for frame, image in opened]
        each.update_needs()
        return found

    def _chunks_to_fetch(self, batch: Batch, missing: Sequence[int]) -> Sequence[int]:
        return missing[::-1] if self._pass_of[batch.index].is_backward else missing

    def _remove_source_shapes(self) -> None:
        """Remove the source shapes that have become tracks, unless somebody has changed them."""
        sources = self._source_shapes
        changed: set[int] = set()
        for by_job in sources.copies_by_job(sources.is_in_track | self._tracks.is_written):
            for job_id, originals in by_job.items():
                self.uploads.writers[job_id].replace(originals)
            changed |= by_job.keys()
        self.uploads.finish(changed)
