"""A run that puts what a detection function finds on the frames of a task together to tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.annotations.request_bodies import kind_of
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import UnsupportedTaskError
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.planning.plan import Batch, Plan, TaskInfo
from prefect_cvat.review.frame_ranking import FrameSummaries
from prefect_cvat.review.track_uncertainty import SeenTracks
from prefect_cvat.review.uncertainty import find_doubts
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.tracking.association import Associator, import_trackers
from prefect_cvat.tracking.track_assembly import TrackAssembler

__all__ = ["TrackRun", "check_takes_tracks"]


class TrackRun(AnnotateRun):
    """A run of a detection function on a task that writes tracks instead of shapes.

    Tags are written as they are. Objects are told apart over the whole task, also where it is cut into
    jobs; a track is written as soon as it has ended.
    """

    kind = "track"
    in_order: ClassVar[frozenset[str]] = frozenset({"upload_batch"})
    reviews_shapes: ClassVar[bool] = False
    keeps_parts: ClassVar[bool] = False
    leaves_out_annotated: ClassVar[bool] = False
    recognizes_refined: ClassVar[bool] = False

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: DetectionFunction,
        options: Options,
        tracking: TrackOptions,
        *,
        function_name: str | None = None,
    ) -> None:
        super().__init__(client, task_id, function, options, function_name=function_name)
        self.tracking = tracking
        self.provenance.take_options(tracking)
        self._associator = Associator(tracking)
        self._assembler: TrackAssembler | None = None
        self._associated: set[int] = set()
        self._is_assembled = False
        self._to_write: list[tuple[object, int, list[dict[str, Any]]]] = []
        self._seen = SeenTracks(tracking)

    def plan_task(self) -> Plan:
        """Ask the server about the task, and decide what to do.

        Raises:
            UnsupportedTaskError: The task takes no tracks.
            MissingLibraryError: The library that tells objects apart is missing.
        """
        import_trackers()  # if it is missing, say so now
        plan = super().plan_task()
        check_takes_tracks(plan.info)
        self._assembler = TrackAssembler(plan.jobs, self.tracking, plan.info.labels)
        self._plan = replace(plan, frames=plan.frames[:: self.tracking.step])
        return self._plan

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Go on with the tracks, and write those that have ended; return how many frames that were."""
        with self._named(batch):
            with self._timed("associate"):
                self._associate(batch, annotations)
            with self._timed("upload"):
                self._write_waiting()
        self._count(annotations)
        return annotations.frames

    def finish_upload(self) -> None:
        """End all tracks and write them; remove what has been replaced."""
        assert self._assembler is not None
        if not self._is_assembled:
            self._assembler.finish()
            self._take("the end")
            self._is_assembled = True
            self._report_tracks()
        with self._timed("upload"):
            self._write_waiting()
            for job in self.plan.jobs:
                # a track speaks for all frames of a job, unless only some of them were asked for
                wanted = self.options.selection.frames
                frames = range(job.start_frame, job.stop_frame + 1)
                covered = (n for n in frames if (wanted is None or n in wanted) and n not in self.failed)
                self._write(job.id, "covered", (), covered)
        super().finish_upload()

    def _associate(self, batch: Batch, annotations: Annotations) -> None:
        assert self._assembler is not None
        if batch.index in self._associated:
            return  # the stage is being tried again
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
            doubts = find_doubts([shape for _, shape in items])
            self._seen.add(frame.number, zip((number for number, _ in items), doubts, strict=True))
            self._assembler.add(frame.number, items)
        for job in self.plan.jobs:
            if of_job := [tag for tag in tags if job.start_frame <= tag["frame"] <= job.stop_frame]:
                self._to_write.append((("tags", batch.index), job.id, of_job))
        self._take(batch.index)
        self._associated.add(batch.index)

    def _take(self, part: object) -> None:
        """Put the tracks that have ended to what is to be written."""
        assert self._assembler is not None
        by_job: dict[int, list[dict[str, Any]]] = {}
        for job_id, track in self._assembler.take():
            by_job.setdefault(job_id, []).append(track)
            self.report.keyframes += _keyframes(track)
        self._to_write += [(("tracks", part), job_id, tracks) for job_id, tracks in by_job.items()]

    def _write_waiting(self) -> None:
        """Write what waits. What fails waits on, and is taken up where it broke off."""
        while self._to_write:
            part, job_id, annotations = self._to_write[0]
            self._write(job_id, part, annotations)
            del self._to_write[0]

    def _report_tracks(self) -> None:
        seen = self._seen
        seen.finish()
        names = {label.id: label.name for label in self.plan.info.labels}
        self.report.tracks = {names[label_id]: count for label_id, count in seen.labels.items()}
        self.report.track_frames = seen.frames
        self.report.untracked = seen.untracked
        self._summaries = FrameSummaries(seen.summaries.each(self.plan.frames.by_number))


def check_takes_tracks(info: TaskInfo) -> None:
    """Check that a task takes tracks.

    Raises:
        UnsupportedTaskError: It does not.
    """
    if info.validation.mode == "gt_pool":
        # CVAT 2.73 answers 400 to every track in such a task
        raise UnsupportedTaskError(
            f"task {info.task.id} ({info.task.name!r}) has a pool of ground-truth frames, and CVAT takes no"
            " tracks in such tasks; annotate it with shapes instead"
        )


def _keyframes(track: dict[str, Any]) -> int:
    parts: Sequence[dict[str, Any]] = track.get("elements") or [track]
    return sum(not shape["outside"] for part in parts for shape in part["shapes"])
