"""A run that associates detections to tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.annotations.request_bodies import kind_of, serialize
from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import UnsupportedTaskError
from prefect_cvat.inference.detector import Detector
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.planning.plan import Batch, Plan, TaskInfo
from prefect_cvat.review.frame_summary import FrameSummaries
from prefect_cvat.review.track_uncertainty import TrackCollector
from prefect_cvat.review.uncertainty import measure_uncertainty
from prefect_cvat.runs.annotate_run import AnnotateRun, PlannedAnnotateRun
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.tracking.detection_association import DetectionAssociator, import_trackers
from prefect_cvat.tracking.given_objects import GivenObjects
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder

__all__ = ["TrackDetectionsRun", "check_takes_tracks"]


class TrackDetectionsRun(AnnotateRun):
    """A run of a detection function on a task that writes tracks instead of shapes.

    Tags are written unchanged. Detections are associated across the borders of jobs. A track is written
    when it has ended.
    """

    leaves_out_annotated: ClassVar[bool] = False

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: DetectionFunction | ForTask,
        options: Options,
        tracking: TrackOptions,
        *,
        function_name: str | None = None,
    ) -> None:
        super().__init__(client, task_id, function, options, function_name=function_name)
        self.tracking = tracking
        self.provenance.take_options(tracking)

    def _plan(self, workspace: Workspace) -> PlannedTrackDetectionsRun:
        import_trackers()  # fails at once if the library is missing
        plan = self._read_plan()
        check_takes_tracks(plan.info)
        plan = replace(plan, frames=plan.frames[:: self.tracking.step])
        return PlannedTrackDetectionsRun(self.context, plan, workspace, self.detector, self.tracking)


class PlannedTrackDetectionsRun(PlannedAnnotateRun):
    """The stages of a run that associates detections to tracks.

    Args:
        context: The server, options and report.
        plan: The plan of the run.
        workspace: The folder and the lock.
        detector: The function.
        tracking: How detections become tracks.

    Raises:
        MissingLibraryError: The library `trackers` is not installed.
    """

    kind: ClassVar[str] = "track"
    in_order: ClassVar[frozenset[str]] = frozenset({"upload_batch"})
    recognizes_refined: ClassVar[bool] = False
    reviews_shapes: ClassVar[bool] = False
    keeps_all_parts: ClassVar[bool] = False
    writes_each_batch: ClassVar[bool] = False
    default_image_bytes: ClassVar[int | None] = 136 * 2**20  # the tracking libraries take 75 MB

    def __init__(
        self,
        context: RunContext,
        plan: Plan,
        workspace: Workspace,
        detector: Detector,
        tracking: TrackOptions,
    ) -> None:
        super().__init__(context, plan, workspace, detector)
        self._associator = self._new_associator(tracking)
        self._assembler = TrackBuilder(plan.jobs, tracking, plan.info.labels)
        self._associated: set[int] = set()
        self._is_assembled = False
        self._to_write: list[tuple[object, int, list[dict[str, Any]]]] = []
        self._collector = TrackCollector(tracking)

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Extend the tracks, and upload those that have ended; return the number of frames."""
        with self.context.working_on(batch):
            with self.context.timing("associate"):
                self._associate(batch, annotations)
            with self.context.timing("upload"):
                self._write_waiting()
        self._count(annotations)
        return annotations.frames

    def finish_upload(self) -> None:
        """End all tracks and upload them; then remove replaced annotations."""
        if not self._is_assembled:
            self._assembler.finish()
            self._take("the end")
            self._is_assembled = True
            self._report_tracks()
        with self.context.timing("upload"):
            self._write_waiting()
            # a track covers all frames of a job, unless only some of them were selected
            selected = self.options.selection.frames
            failed = self.context.failed_frames
            for job in self.plan.jobs:
                frames = range(job.start_frame, job.stop_frame + 1)
                covered = (n for n in frames if (selected is None or n in selected) and n not in failed)
                self.uploads.write(job.id, "covered", (), covered)
        super().finish_upload()

    def _new_associator(self, tracking: TrackOptions) -> DetectionAssociator | GivenObjects:
        return DetectionAssociator(tracking)

    def _associate(self, batch: Batch, annotations: Annotations) -> None:
        if batch.index in self._associated:
            return  # the stage is being retried
        shapes: dict[int, list[dict[str, Any]]] = {}
        tags: list[dict[str, Any]] = []
        for pack in annotations.packs():
            for item in pack:
                if kind_of(item) == "tags":
                    tags.append(item)
                else:
                    shapes.setdefault(item["frame"], []).append(item)
        annotations.empty()
        for frame in batch.frames:
            if frame.number in annotations.errors:
                continue
            items = self._associator.update(frame.number, shapes.get(frame.number, ()))
            probability = self._learned.probability
            judge = probability.on_image(frame.width, frame.height) if probability else None
            uncertainties = measure_uncertainty([shape for _, shape in items], judge)
            numbers = (number for number, _ in items)
            self._collector.add(frame.number, zip(numbers, uncertainties, strict=True))
            self._assembler.add(frame.number, items)
        for job in self.plan.jobs:
            if of_job := [tag for tag in tags if job.start_frame <= tag["frame"] <= job.stop_frame]:
                self._to_write.append((("tags", batch.index), job.id, of_job))
        self._take(batch.index)
        self._associated.add(batch.index)

    def _take(self, part: object) -> None:
        """Queue the tracks that have ended for writing."""
        by_job: dict[int, list[dict[str, Any]]] = {}
        for job_id, track in self._assembler.take():
            by_job.setdefault(job_id, []).append(track)
            self.report.keyframes += _keyframes(track)
        self._to_write += [(("tracks", part), job_id, tracks) for job_id, tracks in by_job.items()]

    def _write_waiting(self) -> None:
        """Upload the queue. After a failure, the rest stays in the queue."""
        while self._to_write:
            part, job_id, annotations = self._to_write[0]
            self.uploads.write(job_id, part, map(serialize, annotations))
            del self._to_write[0]

    def _report_tracks(self) -> None:
        collector = self._collector
        collector.finish()
        names = {label.id: label.name for label in self.plan.info.labels}
        self.report.tracks = {names[label_id]: count for label_id, count in collector.labels.items()}
        self.report.track_frames = collector.frames
        self.report.untracked = collector.untracked
        self.context.summaries = FrameSummaries(collector.summaries.each(self.plan.frames.by_number))


def check_takes_tracks(info: TaskInfo) -> None:
    """Check that a task supports tracks.

    Raises:
        UnsupportedTaskError: It does not.
    """
    if info.validation.mode == "gt_pool":
        # CVAT 2.73 answers 400 to every track in these tasks
        raise UnsupportedTaskError(
            f"task {info.task.id} ({info.task.name!r}) has a ground-truth pool, and CVAT does not support"
            " tracks in such tasks; annotate it with shapes instead"
        )


def _keyframes(track: dict[str, Any]) -> int:
    parts: Sequence[dict[str, Any]] = track.get("elements") or [track]
    return sum(not shape["outside"] for part in parts for shape in part["shapes"])
