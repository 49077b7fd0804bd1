"""A run that follows shapes of a task over its frames with a tracking function, and writes them as tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.auto_annotation.interface import TrackingFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.inference.shape_tracker import ShapeTracker
from prefect_cvat.media.frame_reader import OpenChunk, open_frames, open_frames_reversed
from prefect_cvat.media.spooled_chunks import SpooledChunks
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.planning.batch_size import PartQueue, take_parts
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.records.annotation_index import Stored
from prefect_cvat.review.frame_ranking import FrameSummaries
from prefect_cvat.runs.run import BatchDetections, Run
from prefect_cvat.runs.track_run import check_takes_tracks
from prefect_cvat.tracking.follow_way import FoundOnFrame, Way
from prefect_cvat.tracking.followed_tracks import FollowedTracks
from prefect_cvat.tracking.source_shapes import FollowedObject, SeedReader

__all__ = ["FollowRun", "ShapeTrackingOptions"]


class FollowRun(Run):
    """A run of a tracking function on a task: shapes are followed, and become tracks.

    Backwards comes first; then the frames are gone through forward, and what was found both ways is put
    together. A shape that is lost is followed no further; one that is found on no other frame makes no
    track and stays. Frames that are not selected (or deleted) are not looked at: shapes on them are not
    followed, and tracks pass over them in straight lines.

    All tracks are written at the end, and then the shapes that they began with are removed, unless they
    are to stay or somebody has changed them.

    Args:
        client: The server.
        task_id: The task.
        function: The tracking function.
        options: How the run is done. What is there already is kept; a frame that fails ends the run.
        follow: Which shapes are followed, and how far.
        function_name: Names the function in the report.

    Raises:
        BadFunctionError: It is not a tracking function.
        ValueError: The options ask for what such a run does not do.
    """

    kind = "follow"
    in_order: ClassVar[frozenset[str]] = frozenset({"detect_batch", "upload_batch"})
    sources: ClassVar[frozenset[str]] = frozenset({"auto", "semi-auto"})
    waits_for_late_writes: ClassVar[bool] = True

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: TrackingFunction[Any, Any],
        options: Options,
        follow: ShapeTrackingOptions,
        *,
        function_name: str | None = None,
    ) -> None:
        super().__init__(client, task_id, function, options, function_name=function_name)
        if options.existing is not Existing.KEEP:
            raise ValueError(
                f"following shapes keeps what is there; {argument('existing', options.existing)} cannot be"
            )
        if options.on_frame_error != "fail":
            raise ValueError(
                "shapes cannot be followed over a frame that is skipped: leave"
                f" {argument('on_frame_error', options.on_frame_error)} out"
            )
        self.function = function
        self.follow = follow
        self.provenance.take_options(follow)
        self.types = ShapeTracker(function).supported_shape_types
        self._objects: list[FollowedObject] = []
        self._carried: list[FollowedObject] = []
        self._doubled: list[tuple[int, Stored]] = []
        self._ways: list[Way] = []
        self._way: Way | None = None
        self._backward_chunks = SpooledChunks(self._fetch_backward)
        self._tracks: FollowedTracks | None = None
        self._assembled: set[int] = set()
        self._looked_at = NumberSet()
        self._is_finished = False

    # --- the stages ---

    def plan_task(self) -> Plan:
        """Ask the server about the task and what is drawn in it, and decide what to follow.

        Raises:
            UnsupportedTaskError: The task takes no tracks.
            ValueError: The task has no such label, frame or job.
        """
        plan = super().plan_task()
        check_takes_tracks(plan.info)
        with self._timed("plan"):
            reader = SeedReader(plan, self.follow, self.types)
            for job in plan.jobs:
                reader.read(job.id, self.client.iter_job_annotations(job.id))
            objects = reader.objects()
        self.report.nothing_to_do = self.report.nothing_to_do or reader.why_nothing()
        self._objects = [each for each in objects if not each.is_carried]
        self._carried = [each for each in objects if each.is_carried]
        self._doubled = reader.doubled
        self.report.seeds = _count_seeds(self._objects)
        self.report.seeds_left_out = dict(reader.left_out)
        if carried := _count_seeds(self._carried):
            self.report.seeds_left_out["in a track already"] = carried
        self._ways = self._make_ways(plan)
        numbers = [frame.number for way in self._ways for frame in (way.frames[0], way.frames[-1])]
        frames = plan.frames_between(min(numbers), max(numbers)) if numbers else plan.frames[:0]
        self._plan = replace(plan, frames=frames)
        return self._plan

    def validate_spec(self) -> frozenset[str]:
        """The types of shapes that the function can follow; others have been left out of the plan."""
        return self.types

    def counts(self) -> Counter[str]:
        """How many shapes there are to follow, by label; one that two jobs share counts once."""
        counts: Counter[str] = Counter()
        for each in self._objects:
            counts[each.label.name] += len(each.seeds)
        return counts

    def detect_batch(self, batch: Batch, box: ChunkBatch, _after: object = None) -> BatchDetections:
        """Follow the shapes over the frames of a batch, and empty the box."""
        self._way = self._way_of(batch)
        return super().detect_batch(batch, box)

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Count what was found, and hold it as JSON until it is put together to tracks."""
        names = {each.number: each.label.name for each in self._objects}
        result = Annotations()
        with self._named(batch), self._timed("remap"):
            for item in detections.taken():
                result.shapes.append({"frame": item.frame, "found": item.found})
                result.labels.update(names[number] for number, _, _ in item.found)
            result.pack()
        return result

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Go on with the tracks; return on how many frames for the first time. Nothing is written yet."""
        if batch.index in self._assembled:
            return annotations.frames
        tracks = self._following()
        with self._named(batch), self._timed("assemble"):
            items = [item for pack in annotations.packs() for item in pack]
            (tracks.hold if self._way_of(batch).is_backward else tracks.add)(items)
        annotations.empty()
        before = len(self._looked_at)
        self._looked_at.update(frame.number for frame in batch.frames)
        annotations.frames = len(self._looked_at) - before
        self._assembled.add(batch.index)
        self._count(annotations)
        return annotations.frames

    def finish_upload(self) -> None:
        """Write the tracks; when all of them stand, remove the shapes that they began with.

        The parts of a track in jobs that have one of its seeds are written when all others are known to be
        there. So a seed that is a keyframe in its own job says that all of the track is there. A run after
        one that was killed needs to know that: it may find only some of the seeds, and must not follow these
        anew.
        """
        tracks = self._following()
        if not self._is_finished:
            with self._timed("assemble"):
                tracks.finish()
            self._is_finished = True
            self.report.tracks = tracks.labels()
            self.report.keyframes = tracks.keyframes
            self.report.track_frames = tracks.frames
            self.report.lost = sum(way.lost for way in self._ways)
            for way in self._ways:
                self.report.count_clippings(way.clippings)
            self._summaries = FrameSummaries(tracks.lost.each(self.plan.frames.by_number))
        with self._timed("upload"):
            for with_seeds in (False, True):
                for job_id, number, pack in tracks.packs(with_seeds=with_seeds):
                    self._write(job_id, (with_seeds, number), pack)
                self._verify()
                if any(writer.missing for writer in self._writers.values()):
                    return  # the report says so; a seed in a track would say that all of it is there
            for job_id, stored in self._doubled:
                self._writers[job_id].make_single([stored])
            for writer in self._writers.values():
                self._pause(0.0)
                writer.finish()
            if not self.follow.keep_seeds:
                self._remove(
                    (job_id, {**seed.shape, "id": shape_id})
                    for each in (*self._carried, *tracks.written)
                    for seed in each.seeds
                    for job_id, shape_id in seed.originals
                )

    # --- parts of stages ---

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Cut the frames into batches of chunks or parts: all on the way backward, then all on that forward.

        Those over which nothing is followed are left out, as far as that is known by then.
        """
        index = 0
        for way in self._ways:
            parts = PartQueue(way.parts(plan.part_of))
            while parts.first is not None:
                if not way.needs(parts.first[1]):
                    parts.take()
                    continue
                taken = take_parts(parts, self._batch_size.most(len(plan.frames)))
                taken.sort(key=lambda part: part[1][0].number)
                numbers = [chunk for chunk, _ in taken]
                frames = [frame for _, of_part in taken for frame in of_part]
                batch = _FollowBatch(index, numbers, frames, way.is_backward)
                self._hold_chunks(batch, parts.first)
                yield batch
                index += 1
            self._chunks_on(way).need(index, ())  # a part that was to follow may have been passed over

    def _look_at(self, frames: Sequence[Frame], box: ChunkBatch, open_chunk: OpenChunk) -> list[FoundOnFrame]:
        assert self._way is not None
        opener = open_frames_reversed if self._way.is_backward else open_frames
        with closing(opener(box, frames, open_chunk=open_chunk)) as opened:
            found = [self._way.look_at(frame, image) for frame, image in opened]
        self._way.say_what_is_needed()
        return found

    @contextmanager
    def spool(self) -> Iterator[None]:
        """A folder for what is on its way, removed afterwards."""
        with super().spool(), closing(self._backward_chunks):
            yield

    def _chunks_of(self, batch: Batch) -> SpooledChunks:
        return self._chunks_on(self._way_of(batch))

    def _chunks_on(self, way: Way) -> SpooledChunks:
        return self._backward_chunks if way.is_backward else self._chunks

    def _fetch_backward(self, number: int) -> ChunkFile:
        # the way forward may have the same chunk at the same time
        return self._fetch_to(self._folder("backward"), number)

    def _following(self) -> FollowedTracks:
        if self._tracks is None:
            self._tracks = FollowedTracks(
                self.plan.jobs,
                self._objects,
                last_frame=self.plan.info.meta.size - 1,
                tolerance=self.follow.tolerance,
                folder=self._folder("tracks"),
            )
        return self._tracks

    def _remove(self, annotations: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Remove annotations from their jobs, unless somebody has changed them."""
        by_job: dict[int, list[dict[str, Any]]] = {}
        for job_id, annotation in annotations:
            by_job.setdefault(job_id, []).append(annotation)
        for job_id, originals in by_job.items():
            self._writers[job_id].replace(originals)
            self._writers[job_id].finish()

    def _make_ways(self, plan: Plan) -> list[Way]:
        """The ways over the frames, each from the first seed on it to the end."""
        if not self._objects:
            return []
        direction, until = self.follow.direction, self.follow.until
        every = [(each, index) for each in self._objects for index in range(len(each.seeds))]
        ways = []
        if direction != "forward":
            # where an object is followed both ways, it is from each seed on to the next, and before the first
            seeds = every if direction == "backward" else [(each, 0) for each in self._objects]
            last = max(each.seeds[index].frame for each, index in seeds)
            frames = plan.frames_between(0 if until is None else until, last)
            ways.append(Way(self.function, frames, seeds, is_backward=True))
        if direction != "backward":
            first = min(each.seeds[0].frame for each in self._objects)
            frames = plan.frames_between(first, plan.info.meta.size - 1 if until is None else until)
            ways.append(Way(self.function, frames, every, is_backward=False))
        return ways

    def _way_of(self, batch: Batch) -> Way:
        assert isinstance(batch, _FollowBatch)
        return next(way for way in self._ways if way.is_backward is batch.is_backward)


class _FollowBatch(Batch):
    """A batch that is gone through forward or backward; its frames ascend in any case."""

    __slots__ = ("is_backward",)

    def __init__(self, index: int, chunks: Sequence[int], frames: Sequence[Frame], is_backward: bool) -> None:
        super().__init__(index, chunks, frames)
        self.is_backward = is_backward


def _count_seeds(objects: Iterable[FollowedObject]) -> int:
    return sum(len(each.seeds) for each in objects)
