"""What all runs of a function on a task have in common: their stages, and what they have done so far.

A kind of run (`AnnotateRun`, `TrackRun`, `FollowRun`, `RefineRun`) says what it looks for on the frames;
fetching, cutting into batches, writing and reporting are here.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from prefect_cvat.annotations.duplicates import attribute_defaults
from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.auto_annotation.interface import AutoAnnotationFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import BadFunctionError, PrefectCvatError, RunStoppedError, StorageError
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.inference.function_digest import FunctionDigest, digest_of
from prefect_cvat.inference.provenance import Provenance, function_version, name_of
from prefect_cvat.media.chunk_download import chunk_type, fetch_chunk
from prefect_cvat.media.frame_reader import OpenChunk
from prefect_cvat.media.spooled_chunks import SpooledChunks
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import escape_unencodable, shorten
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.annotated_frames import exclude_annotated
from prefect_cvat.planning.batch_size import BatchSize, ChunkPart, PartQueue, take_parts
from prefect_cvat.planning.plan import Batch, Plan, make_plan, read_task
from prefect_cvat.records.record_writer import RecordHeader, RunRecord, checked_run_id
from prefect_cvat.records.run_lock import RunLock, only_run_on
from prefect_cvat.review.frame_ranking import FrameReview, FrameSummaries, rank_frames
from prefect_cvat.review.score_histogram import SCORE_BINS
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.review_issues import open_issues
from prefect_cvat.settings import Settings
from prefect_cvat.upload.job_writer import JobWriter

__all__ = ["BatchDetections", "Run"]

logger = logging.getLogger(__name__)


class Run(ABC):
    """One run of a function on a task: its settings, its stages, and what it has done so far.

    Opaque on purpose: Prefect looks into dataclasses, models and containers, but not into this.

    Attributes:
        kind: What it is called: `annotate`, `track`, `follow` or `refine`.
        in_order: The stages that must see the batches one after the other. They get what the stage returned
            for the batch before as their last argument.
        sources: The sources of what a run of this kind writes.
        leaves_out_annotated: Whether such a run can pass over frames, and objects, that are annotated.
        recognizes_refined: Whether a mask or a track that a machine has made of what such a run has written
            stands for it.
        waits_for_late_writes: Whether the run waits, before it verifies, until no write can arrive any more:
            its originals are removed at its end, so no later run would find what is there twice.
        failed: The frames that were skipped because the function failed on them.
    """

    kind: ClassVar[str] = "annotate"
    in_order: ClassVar[frozenset[str]] = frozenset()
    sources: ClassVar[frozenset[str]] = frozenset({"auto"})
    leaves_out_annotated: ClassVar[bool] = False
    recognizes_refined: ClassVar[bool] = False
    waits_for_late_writes: ClassVar[bool] = False

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: AutoAnnotationFunction,
        options: Options,
        *,
        function_name: str | None = None,
    ) -> None:
        if not self.leaves_out_annotated and options.leaves_out_annotated:
            raise ValueError(
                "only runs that annotate with shapes can leave out what is annotated already; tracking and"
                f" refining take neither unannotated frames alone nor {argument('skip_existing_iou')}"
            )
        self.client = client
        self.task_id = task_id
        self.options = options
        self._function = function
        name = escape_unencodable(function_name or name_of(function))
        self.provenance = Provenance.of(name, options)
        self.report = RunReport(
            run=str(uuid.uuid4()),
            task_id=task_id,
            task_name="",
            url=f"{client.url}/tasks/{task_id}",
            function=name,
            started=datetime.now(UTC),
            provenance=self.provenance,
        )
        self._record = RunRecord(self._describe)
        self._plan: Plan | None = None
        self._writers: dict[int, JobWriter] = {}
        self._lock: RunLock | None = None
        self._baseline_lock = threading.Lock()
        self._has_baseline = False
        self._uploaded: dict[int, dict[int, int]] = {}  # frames by batch, of jobs that are not complete yet
        self.failed = NumberSet()
        self._summaries = FrameSummaries()
        self._spool: Path | None = None
        self._chunks = SpooledChunks(self._fetch)
        self._download_slots = threading.Semaphore(options.downloads)
        self._detect_lock = threading.Lock()
        self._bad_function: str | None = None  # what it has broken its contract with: it is called no more
        self._report_lock = threading.Lock()
        self._batch_size = BatchSize(options.batch_size)
        self._is_stopped = threading.Event()

    @cached_property
    def _function_digest(self) -> FunctionDigest:
        return digest_of(self._function)

    @property
    def plan(self) -> Plan:
        """What the run will do; there is one once `plan_task` was called."""
        assert self._plan is not None, "plan_task comes first"
        return self._plan

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until the server must have committed all that this run has sent and lost sight of."""
        return max((writer.seconds_until_settled for writer in self._writers.values()), default=0.0)

    def identify(
        self, run_id: str | None = None, function_parameters: Mapping[str, str] | None = None
    ) -> None:
        """Tell what the run cannot know by itself, before it begins.

        Args:
            run_id: What it is called; by default a UUID of its own.
            function_parameters: What the function was made with, as `type:value`; without what is secret.

        Raises:
            ValueError: A run cannot be called so.
        """
        if run_id is not None:
            self.report.run = checked_run_id(run_id)
        self.provenance.take_parameters(function_parameters)

    def stop(self) -> None:
        """Begin no further stage of a batch: those that are at work come to their end, all others raise.

        What was written stays; a run that is stopped can be completed by running it again.
        """
        self._is_stopped.set()

    # --- the stages ---

    def plan_task(self) -> Plan:
        """Ask the server about the task, and decide what to do."""
        with self._timed("plan"):
            info = read_task(self.client, self.task_id, self.options.selection)
            chunk_type(info.task, self.options.quality)  # if they are of no use, say so now
            plan = make_plan(info, self.options.selection)
            if self.options.selection.unannotated:
                plan = exclude_annotated(self.client, plan)
            self.provenance.function_version = function_version(self._function, self._function_digest)
        self.report.task_name = info.task.name
        self.report.url = info.page(self.client.url)
        self.report.left_out = {why.value: len(frames) for why, frames in plan.excluded.items()}
        self.report.nothing_to_do = plan.why_nothing
        self._plan = plan
        return plan

    @abstractmethod
    def validate_spec(self) -> Any:
        """Hold the function against the task, before anything is downloaded.

        Raises:
            BadFunctionError: They do not go together.
        """

    def fetch_batch(self, batch: Batch) -> ChunkBatch:
        """Download the chunks of a batch to disk, but for those of which all is known already.

        Raises:
            StorageError: The disk does not take them.
        """
        chunks: dict[int, ChunkFile] = {}
        known: list[Any] = []
        with self._named(batch):
            numbers = (frame.number for frame in batch.frames)
            for (chunk, _), frames in groupby(numbers, self.plan.part_of):
                kept = self._recall(chunk, list(frames))
                if kept is not None:
                    known += kept
                elif chunk not in chunks:
                    chunks[chunk] = self._chunks_of(batch).get(batch.index, chunk)
        return ChunkBatch(list(chunks.values()), known)

    def detect_batch(self, batch: Batch, box: ChunkBatch, _after: object = None) -> BatchDetections:
        """Run the function on the frames of a batch, and empty the box."""
        known = {item.frame for item in box.known}
        frames = [frame for frame in batch.frames if frame.number not in known]
        found: list[Any] = []
        if frames:
            with self._detect_lock, self._named(batch), self._timed("detect") as elapsed:
                if self._bad_function is not None:
                    raise BadFunctionError(self._bad_function)
                try:
                    found = self._look_at(frames, box, self._chunks_of(batch).open)
                except BadFunctionError as error:
                    self._bad_function = str(error)
                    raise
                self._batch_size.learn(elapsed(), len(frames), sum(map(self._count_found, found)))
        with self._report_lock:
            self.report.frames_from_cache += len(box.known)
        everything = sorted([*box.known, *found], key=attrgetter("frame"))
        box.empty()
        self._chunks_of(batch).need(batch.index, ())
        return BatchDetections(everything)

    @abstractmethod
    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Put what was found into the labels of the task, and empty what held it."""

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Write the annotations of a batch to its jobs, and empty them; return how many frames that were."""
        first, last = batch.frames[0].number, batch.frames[-1].number
        frames = [frame.number for frame in batch.frames if frame.number not in annotations.errors]
        with self._named(batch), self._timed("upload"):
            for number, pack in enumerate(annotations.packs()):
                for job in self.plan.jobs_between(pack[0]["frame"], pack[-1]["frame"]):
                    items = [item for item in pack if job.start_frame <= item["frame"] <= job.stop_frame]
                    self._write(job.id, (batch.index, number), items)
                    if job.stop_frame < pack[-1]["frame"]:  # frames ascend: there is no more of it
                        self._writers[job.id].rest()
            for job in self.plan.jobs_between(first, last):
                self._write(job.id, batch.index, (), frames)
            annotations.empty()  # trying this stage again goes on with the next line
            self._rest_complete_jobs(batch)
        self._count(annotations)
        return annotations.frames

    def finish_upload(self) -> None:
        """See to it that all is there, once, in all jobs; then remove what has been replaced."""
        with self._timed("upload"):
            self._verify()
            for writer in self._writers.values():
                self._pause(0.0)
                writer.finish()

    def open_issues(self) -> None:
        """Open issues on the frames most in doubt, if that is asked for. The annotations are there by now."""
        if self.options.open_issues:
            reviews = self._rank_frames()[: self.options.open_issues]
            open_issues(self.client, reviews, self.plan.info, self._record, self.report)

    def undo_upload(self) -> None:
        """Remove what this run has written so far, from every job, also if that fails for some.

        When it has begun to remove what was there before, all that it has written was there, and stays.
        """
        self._summaries = FrameSummaries()
        if any(writer.removed for writer in self._writers.values()):
            logger.warning(
                "task %d: what the run has added stays, since what it replaces is gone", self.task_id
            )
            return
        failures = []
        for writer in self._writers.values():
            try:
                writer.undo()
            except PrefectCvatError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    # --- what a kind of run fills in ---

    @abstractmethod
    def _look_at(self, frames: Sequence[Frame], box: ChunkBatch, open_chunk: OpenChunk) -> list[Any]:
        """Run the function on frames of a box; what it finds on one has its `frame`."""

    def _count_found(self, _found: Any) -> int:
        """How many annotations were found on a frame, as far as they are held in memory."""
        return 0

    def _recall(self, _chunk: int, _frames: Sequence[int]) -> Sequence[Any] | None:
        """What is known of frames of a part of a chunk from an earlier run, or None."""
        return None

    def _chunks_of(self, _batch: Batch) -> SpooledChunks:
        """The chunks that a batch shares with others."""
        return self._chunks

    # --- parts of stages ---

    def _write(
        self, job_id: int, part: object, annotations: Iterable[dict[str, Any]], frames: Iterable[int] = ()
    ) -> None:
        """Write to a job, see `JobWriter.write`; before the first write to any, remember what all hold."""
        with self._baseline_lock:
            if not self._has_baseline:
                for writer in self._writers.values():
                    writer.begin()
                self._has_baseline = True
        self._writers[job_id].write(part, annotations, frames)

    def _verify(self) -> None:
        """Verify all jobs, and once more those to which another run has added the same meanwhile.

        That run may be at its end, and take back what it has added: then what it had written first, and this
        run has left out, must be written by this one.
        """
        writers = self._writers.values()
        if self.waits_for_late_writes:
            sure_after = max((writer.sure_after for writer in writers), default=0.0)
            self._pause(max(0.0, sure_after - time.monotonic()))
        for writer in writers:
            self._pause(0.0)
            writer.verify()
        until = time.monotonic() + Settings().stale_read_seconds
        delay = 0.5
        waited_for = [writer for writer in writers if writer.doubled_by_others]
        while (doubled := [w for w in waited_for if w.doubled_by_others]) and time.monotonic() < until:
            self._pause(min(delay, max(0.0, until - time.monotonic())))
            delay *= 2
            for writer in doubled:
                writer.verify(anew=True)
        if waited_for and not doubled:
            for writer in writers:  # what that run has taken back may have been in any job
                writer.verify(anew=True)

    def _pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunStoppedError: The run is to stop.
        """
        if self._is_stopped.wait(seconds):
            raise RunStoppedError(f"task {self.task_id}: the run was stopped while it waited for the server")

    def _describe(self) -> RecordHeader:
        return RecordHeader(
            run=self.report.run,
            kind=self.kind,
            server=self.client.url,
            task_id=self.task_id,
            task=self.plan.info.identity(self.plan.jobs),
            started=self.report.started,
            provenance=self.provenance,
        )

    def _count(self, annotations: Annotations) -> None:
        with self._report_lock:
            report = self.report
            report.frames += annotations.frames
            report.batches += 1
            report.labels = dict(Counter(report.labels) + annotations.labels)
            for (label, number), count in annotations.scores.items():
                report.scores.setdefault(label, [0] * SCORE_BINS)[number] += count
            report.count_clippings(annotations.clippings)
            report.below_threshold += annotations.below_threshold
            report.overlapping_existing += annotations.overlapping_existing
            report.unmatched = dict(Counter(report.unmatched) + annotations.unmatched)
            report.count_failed(annotations.errors)
            self.failed.update(annotations.errors)
            self._summaries.extend(annotations.summaries)

    def _fetch(self, number: int) -> ChunkFile:
        assert self._spool is not None
        return self._fetch_to(self._spool, number)

    def _fetch_to(self, folder: Path, number: int) -> ChunkFile:
        with self._download_slots, self._timed("fetch"):
            self._pause(0.0)  # it may have waited for its slot, or for a batch that could not fetch it
            return fetch_chunk(self.client, self.plan, number, folder, self.options.quality)

    def _hold_chunks(self, batch: Batch, following: ChunkPart | None) -> None:
        """Keep the chunks of a batch until it is done, and that of what follows until its batch is made."""
        chunks = self._chunks_of(batch)
        chunks.need(batch.index, batch.chunks)
        chunks.need(batch.index + 1, () if following is None else [following[0]])

    def _rest_complete_jobs(self, batch: Batch) -> None:
        """Keep as little as may be in memory of the jobs of which everything is written."""
        numbers = [frame.number for frame in batch.frames]
        for job in self.plan.jobs_between(numbers[0], numbers[-1]):
            with self._report_lock:
                uploaded = self._uploaded.setdefault(job.id, {})
                uploaded[batch.index] = sum(job.start_frame <= n <= job.stop_frame for n in numbers)
                is_complete = sum(uploaded.values()) == self.plan.frames.count_between(
                    job.start_frame, job.stop_frame
                )
            if is_complete:
                self._writers[job.id].rest()
                self._uploaded[job.id] = {}

    # --- what holds them together ---

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The right to be the only run, once nothing can arrive any more that a run before has sent.

        Raises:
            RunInProgressError: Another run is annotating this task.
            RunStoppedError: The run is to stop.
        """
        with only_run_on(self.client.url, self.task_id, self.options.selection.jobs) as lock:
            lock.wait_for_earlier_write(Settings().late_commit_seconds, self._pause)
            self._lock = lock
            yield

    @contextmanager
    def spool(self) -> Iterator[None]:
        """A folder for what is on its way, removed afterwards.

        Raises:
            StorageError: There is no room for the folder.
        """
        assert self._lock is not None, "hold comes first"
        with spool_folder() as self._spool, closing(self._chunks):
            self._writers = self._new_writers(self._folder("jobs"), self._lock)
            yield
        self._spool = None

    def _new_writers(self, folder: Path, lock: RunLock) -> dict[int, JobWriter]:
        defaults = attribute_defaults(self.plan.info.labels)
        return {
            job.id: JobWriter(
                self.client,
                job,
                folder,
                existing=self.options.existing,
                sources=self.sources,
                defaults=defaults,
                record=self._record.of_job(job.id),
                lock=lock,
                stopped=self._is_stopped,
                recognizes_refined=self.recognizes_refined and self.options.existing is Existing.KEEP,
                deleted_frames=self.plan.info.meta.deleted_frames,
            )
            for job in self.plan.jobs
        }

    def _folder(self, name: str) -> Path:
        """A folder of the run for what is on its way."""
        assert self._spool is not None
        folder = self._spool / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"no folder {folder} can be made: {error}") from error
        return folder

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Cut the frames into batches of chunks or parts, sized by how fast detection turns out to be."""
        parts = PartQueue(plan.parts())
        index = 0
        while parts.first is not None:
            taken = take_parts(parts, self._batch_size.most(len(plan.frames)))
            batch = Batch(index, [chunk for chunk, _ in taken], [f for _, frames in taken for f in frames])
            self._hold_chunks(batch, parts.first)
            yield batch
            index += 1

    def complete(self, seconds: float) -> RunReport:
        """The report, once all is done."""
        writers = self._writers.values()
        self.report.added = sum(writer.added for writer in writers)
        self.report.already_there = sum(writer.already_there for writer in writers)
        self.report.removed = sum(writer.removed for writer in writers)
        self.report.changed = sum(writer.changed for writer in writers)
        self.report.not_replaced = sum(writer.not_replaced for writer in writers)
        self.report.missing = sum(writer.missing for writer in writers)
        self.report.doubled_by_others = sum(writer.doubled_by_others for writer in writers)
        self.report.unsettled = sum(writer.unsettled for writer in writers)
        self.report.review = self._rank_frames()[: self.options.review_frames]
        self.report.seconds = seconds
        return self.report

    def _rank_frames(self) -> list[FrameReview]:
        """The frames to look at first, as many as are needed."""
        if self._plan is None:  # the run has failed before it had one
            return []
        return rank_frames(
            self._summaries,
            labels={label.id: label.name for label in self.plan.info.labels},
            jobs=self.plan.jobs,
            url=f"{self.client.url}/tasks/{self.task_id}",
            most=self.options.frames_to_rank,
        )

    @contextmanager
    def _named(self, batch: Batch) -> Iterator[None]:
        """Say in errors of ours which task and which frames they are about; begin nothing once stopped."""
        if self._is_stopped.is_set():
            raise RunStoppedError(f"task {self.task_id}: the run was stopped before {batch} was done")
        try:
            yield
        except PrefectCvatError as error:
            where = f"task {self.task_id}, {batch}: "
            if error.args and not str(error.args[0]).startswith(where):
                error.args = (shorten(f"{where}{error.args[0]}"), *error.args[1:])
            raise

    @contextmanager
    def _timed(self, stage: str) -> Iterator[Callable[[], float]]:
        started = time.perf_counter()
        try:
            yield lambda: time.perf_counter() - started
        finally:
            with self._report_lock:
                seconds = self.report.stage_seconds
                seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started


class BatchDetections:
    """What was found in a batch, until it has been used.

    Plain, so that Prefect does not walk through it; emptied, because Prefect keeps it.
    """

    __slots__ = ("_frames",)

    def __init__(self, frames: Iterable[Any]) -> None:
        self._frames = deque(frames)

    def taken(self) -> Iterator[Any]:
        """What was found on one frame after the other; each is let go."""
        while self._frames:
            yield self._frames.popleft()
