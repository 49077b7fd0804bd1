"""A run that has a plan: its stages, from fetching a batch to verifying what was written."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeVar

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.exceptions import BadFunctionError, DeviceError
from prefect_cvat.frames import BatchDetections, ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.spooled_chunks import BatchChunks
from prefect_cvat.options.execution_options import MAX_DOWNLOADS
from prefect_cvat.planning.batch_size import BatchSize, PartQueue, take_batch
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.records.record_writer import RecordHeader, RunRecord
from prefect_cvat.review.frame_ranking import FrameReview, rank_frames
from prefect_cvat.review.frame_summary import FrameSummaries
from prefect_cvat.runs.execution.job_uploads import JobUploads
from prefect_cvat.runs.execution.job_writers import make_writers
from prefect_cvat.runs.execution.run_chunks import RunChunks
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.runs.review_issues import open_issues

__all__ = ["PlannedRun"]

logger = logging.getLogger(__name__)

Results = TypeVar("Results", bound=Annotations)


class PlannedRun(ABC, Generic[Results]):
    """The stages of a run. Opaque to Prefect, as `Run` is.

    Args:
        context: Server, options, report.
        plan: What to do.
        workspace: Folder and lock.

    Attributes:
        kind: `annotate`, `track`, `track_shapes` or `refine`.
        in_order: The stages that must get the batches one after the other. Their last argument is what the
            stage returned for the batch before.
        sources: The sources of the annotations that a run of this kind writes.
        recognizes_refined: Whether a mask or a track that a machine has made of an annotation of the run
            counts as that annotation.
        waits_for_late_writes: Whether the run waits, before it verifies, until no write can arrive any more:
            its originals are removed at its end, so that a later run would not find duplicates of results.
        default_image_bytes: See `RunChunks`.
        writes_each_batch: Whether annotations are written batch by batch, and not when a track has ended.
    """

    kind: ClassVar[str] = "annotate"
    in_order: ClassVar[frozenset[str]] = frozenset()
    sources: ClassVar[frozenset[str]] = frozenset({"auto"})
    recognizes_refined: ClassVar[bool] = False
    waits_for_late_writes: ClassVar[bool] = False
    default_image_bytes: ClassVar[int | None] = None
    writes_each_batch: ClassVar[bool] = True

    def __init__(self, context: RunContext, plan: Plan, workspace: Workspace) -> None:
        self.context = context
        self.client = context.client
        self.options = context.options
        self.report = context.report
        self.plan = plan
        self.folder = workspace.folder
        self._record = RunRecord(self._describe)
        writers = make_writers(
            context,
            plan,
            workspace,
            self._record,
            sources=self.sources,
            recognizes_refined=self.recognizes_refined,
        )
        self.uploads = JobUploads(self.client, plan, writers, self.folder, context.pause)
        self._chunks = RunChunks(context, plan, self.folder, self._use_chunk, self.default_image_bytes)
        self._detect_lock = threading.Lock()
        self._failure: BadFunctionError | DeviceError | None = None  # the function is not called again
        self._batch_size = BatchSize(self.options.frames_per_batch)

    def stop(self) -> None:
        """End the downloads."""
        self._chunks.stop()

    def close(self) -> None:
        """End the downloads and their threads, close the chunk that is open, send what still waits."""
        try:
            self._chunks.close()
        finally:
            self.uploads.close()

    def store_report(self) -> None:
        """Store the report beside the record of the run, if it has sent anything.

        Raises:
            StorageError: It cannot be written.
        """
        failed = self.context.failed_frames
        processed = (number for number in self.plan.frames.numbers if number not in failed)
        self._record.write_report(self.report.model_dump_json(), processed)

    # --- the stages ---

    @abstractmethod
    def validate_spec(self) -> Any:
        """Validate the function against the task, before anything is downloaded.

        Raises:
            BadFunctionError: The function does not fit the task.
        """

    def batches(self) -> Iterator[Batch]:
        """Cut the frames into batches of chunks or parts, sized by how fast detection turns out to be."""
        parts = PartQueue(self.plan.parts())
        index = 0
        while parts.first is not None:
            taken = take_batch(parts, self._batch_size, len(self.plan.frames), self._is_cached)
            batch = Batch(index, [chunk for chunk, _ in taken], [f for _, frames in taken for f in frames])
            coming = parts.peek(MAX_DOWNLOADS)
            self._chunks.reserve(batch, [chunk for chunk, of in coming if not self._is_cached(chunk, of)])
            yield batch
            index += 1

    def fetch_batch(self, batch: Batch) -> ChunkBatch:
        """Begin to download the chunks of a batch, except those whose detections are kept already.

        They are downloaded in the order of the batches. Detection begins with the first that is on disk.
        """
        missing: dict[int, None] = {}
        known: list[Any] = []
        with self.context.working_on(batch):
            numbers = (frame.number for frame in batch.frames)
            for (chunk, _), frames in groupby(numbers, self.plan.part_of):
                cached = self._read_cached(chunk, list(frames))
                if cached is not None:
                    known += cached
                else:
                    missing[chunk] = None
            if known and self.writes_each_batch:  # known detections are written at once
                self.uploads.read_ahead()
            self._chunks.request(batch.index, self._chunks_to_fetch(batch, list(missing)))
            return ChunkBatch([self._chunks.file(number) for number in missing], known)

    def wait_for_chunks(self, batch: Batch, chunks: ChunkBatch) -> None:
        """Wait until all chunks of a batch are on disk.

        Raises:
            PrefectCvatError: One of them cannot be downloaded. The next `fetch_batch` tries it again.
        """
        with self.context.working_on(batch):
            for chunk in chunks.chunks:
                self._chunks.get(chunk.number)

    def detect_batch(self, batch: Batch, chunks: ChunkBatch, _after: object = None) -> BatchDetections:
        """Run the function on the frames of a batch, and empty its chunks."""
        frames = self._frames_to_detect(batch, chunks)
        found: list[Any] = []
        if frames:
            with (
                self._detect_lock,
                self.context.working_on(batch),
                self.context.timing("detect") as watch,
            ):
                if self._failure is not None:
                    raise type(self._failure)(str(self._failure))
                try:
                    source = self._chunks.of_batch(watch.paused)
                    found = self._run_function(batch, frames, chunks, source)
                except (BadFunctionError, DeviceError) as error:
                    self._failure = type(error)(str(error))
                    raise
                self._batch_size.learn(watch.seconds, len(frames), sum(map(self._count_found, found)))
        elif chunks.known:
            self._batch_size.learn(None, len(chunks.known), sum(map(self._count_found, chunks.known)))
        with self.context.updating_report() as report:
            report.frames_from_cache += len(chunks.known)
        everything = sorted([*chunks.known, *found], key=attrgetter("frame"))
        chunks.empty()
        self._chunks.need(batch.index, ())
        return BatchDetections(everything)

    @abstractmethod
    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Results:
        """Make annotations of the task of what was found, and empty the detections."""

    def upload_batch(self, batch: Batch, annotations: Results, _after: object = None) -> int:
        """Write the annotations of a batch to its jobs, and empty them; return the number of frames."""
        numbers = [frame.number for frame in batch.frames]
        frames = [number for number in numbers if number not in annotations.errors]
        with self.context.working_on(batch), self.context.timing("upload"):
            for number, pack in enumerate(annotations.serialized_packs()):
                for job in self.plan.jobs_between(pack[0].frame, pack[-1].frame):
                    items = [item for item in pack if job.start_frame <= item.frame <= job.stop_frame]
                    self.uploads.write(job.id, (batch.index, number), items)
                    if job.stop_frame < pack[-1].frame:  # frames ascend: the batch has no more for it
                        self.uploads.writers[job.id].free_memory()
            for job in self.plan.jobs_between(numbers[0], numbers[-1]):
                self.uploads.write(job.id, batch.index, (), frames)
            annotations.empty()  # a retry of the stage must not write again
            self.uploads.complete_batch(batch)
        self._count(annotations)
        return annotations.frames

    def finish_upload(self) -> None:
        """Verify that each annotation is in its job once; then remove what was replaced."""
        with self.context.timing("upload"):
            self.uploads.verify(after_late_writes=self.waits_for_late_writes)
            self.uploads.finish()

    def open_issues(self) -> None:
        """Open issues on the frames with the highest uncertainty, if that is asked for."""
        if self.options.open_issues:
            reviews = self.rank_frames(self.options.open_issues)
            open_issues(self.client, reviews, self.plan.info, self._record, self.report)

    def undo_upload(self) -> None:
        """Remove what this run has written so far, unless it has begun to remove what that replaces."""
        self.context.summaries = FrameSummaries()
        if self.uploads.have_removed:
            logger.warning(
                "task %d: what the run has added stays, since what it replaces is gone", self.context.task_id
            )
        else:
            self.uploads.undo()

    def update_report(self) -> None:
        """Set in the report what is on the server, and which frames to look at first."""
        self.uploads.update(self.report)
        self.report.review = self.rank_frames(self.options.review_frames)

    def rank_frames(self, max_frames: int) -> list[FrameReview]:
        """The frames to look at first, at most so many; none if the options ask for no review."""
        return rank_frames(
            self.context.summaries,
            labels={label.id: label.name for label in self.plan.info.labels},
            jobs=self.plan.jobs,
            url=f"{self.client.url}/tasks/{self.context.task_id}",
            max_frames=max_frames,
            missed_per_frame=self._missed_per_frame(),
        )

    # --- what a kind of run fills in ---

    @abstractmethod
    def _run_function(
        self, batch: Batch, frames: Sequence[Frame], chunks: ChunkBatch, source: BatchChunks
    ) -> list[Any]:
        """Run the function on frames of a batch; what it returns for a frame has its `frame`."""

    def _count_found(self, _found: Any) -> int:
        """How many annotations were found on a frame, as far as they are held in memory."""
        return 0

    def _read_cached(self, _chunk: int, _frames: Sequence[int]) -> Sequence[Any] | None:
        """The detections that an earlier run has kept of frames of a chunk, or None."""
        return None

    def _is_cached(self, _chunk: int, _frames: Sequence[Frame]) -> bool:
        """Whether `_read_cached` will most likely find detections, so that no chunk is needed."""
        return False

    def _chunks_to_fetch(self, _batch: Batch, missing: Sequence[int]) -> Sequence[int]:
        """Of the chunks of which detections are missing, those to download, in the order of reading."""
        return missing

    def _use_chunk(self, _chunk: ChunkFile) -> None:
        """Use a chunk besides detection; called by the thread that has downloaded it."""

    def _missed_per_frame(self) -> float | None:
        """The mean number of objects that are missed on a frame; None if nothing was learned."""
        return None

    def _count(self, annotations: Results) -> None:
        """Add the annotations of a batch to the report."""
        self.context.count(annotations)

    # --- parts of stages ---

    def _frames_to_detect(self, batch: Batch, chunks: ChunkBatch) -> list[Frame]:
        known = {item.frame for item in chunks.known}
        return [frame for frame in batch.frames if frame.number not in known]

    def _describe(self) -> RecordHeader:
        return RecordHeader(
            run=self.report.run,
            kind=self.kind,
            server=self.client.url,
            task_id=self.context.task_id,
            task=self.plan.info.identity(self.plan.jobs),
            started=self.report.started,
            provenance=self.context.provenance,
        )
