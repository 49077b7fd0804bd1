"""The way of the data, composed once: plan, then for each batch fetch, detect, remap, upload.

The stages are methods of a `Run`. `run_pipeline` puts them together over anything that submits them
and returns futures: threads for scripts (`ThreadSubmitter`), Prefect tasks in the flow.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from prefect_cvat.client import Client
from prefect_cvat.detection import Detector
from prefect_cvat.exceptions import BadFunctionError, MediaError, UploadError
from prefect_cvat.function_output import FrameDetections
from prefect_cvat.identity import attribute_defaults
from prefect_cvat.mapping import LabelMap, LabelMapping, build_mapping
from prefect_cvat.media import Box, ChunkFile, Frame, open_frames
from prefect_cvat.plan import Batch, Plan, Selection, make_plan, read_task
from prefect_cvat.progress import Progress
from prefect_cvat.remap import Annotations, LabelRemapper
from prefect_cvat.report import RunReport
from prefect_cvat.upload import Existing, JobWriter

__all__ = ["Options", "Run", "Submitter", "ThreadSubmitter", "run_pipeline"]

BATCH_SECONDS = 2.0
"""How much detection a batch should hold: enough to make the cost of a Prefect task run small."""

MOST_BATCHES = 75
"""How many batches a run is cut into at the most (four Prefect task runs each), whatever its size."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is done; see `annotate_task` for the meaning of each."""

    selection: Selection = field(default_factory=Selection)
    existing: Existing = Existing.KEEP
    allow_unmatched_labels: bool = False
    label_map: LabelMap | None = None
    ignore_case: bool = False
    conf_threshold: float | None = None
    label_thresholds: Mapping[str, float] | None = None
    conv_mask_to_poly: bool = False
    on_frame_error: Literal["fail", "skip"] = "fail"
    batch_size: int | None = None
    window: int = 4

    def __post_init__(self) -> None:
        for name in ("batch_size", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")


class Run:
    """One run of a function on a task: its settings, its stages, and what it has done so far.

    Opaque on purpose: Prefect looks into dataclasses, models and containers, but not into this.
    """

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: Any,
        options: Options,
        *,
        function_name: str | None = None,
    ) -> None:
        self.client = client
        self.task_id = task_id
        self.options = options
        self.detector = Detector(
            function,
            conf_threshold=options.conf_threshold,
            conv_mask_to_poly=options.conv_mask_to_poly,
            on_frame_error=options.on_frame_error,
        )
        self.report = RunReport(
            task_id=task_id,
            task_name="",
            url=f"{client.url}/tasks/{task_id}",
            function=function_name or type(function).__name__,
            started=datetime.now(UTC),
        )
        self._plan: Plan | None = None
        self._remapper: LabelRemapper | None = None
        self._writers: dict[int, JobWriter] = {}
        self._spool: Path | None = None
        self._detect_lock = threading.Lock()
        self._report_lock = threading.Lock()
        self._seconds_per_frame: float | None = None

    # --- the stages ---

    def plan_task(self) -> Plan:
        """Ask the server about the task, and decide what to do."""
        with self._timed("plan"):
            info = read_task(self.client, self.task_id)
            plan = make_plan(info, self.options.selection)
        self.report.task_name = info.task.name
        self.report.left_out = {why.value: len(frames) for why, frames in plan.left_out.items()}
        self._writers = {
            job.id: JobWriter(
                self.client,
                job,
                existing=self.options.existing,
                defaults=attribute_defaults(info.labels),
            )
            for job in plan.jobs
        }
        self._plan = plan
        return plan

    def validate_spec(self) -> LabelMapping:
        """Match the function's labels with the task's.

        Raises:
            BadFunctionError: They do not match.
        """
        assert self._plan is not None
        info = self._plan.info
        mapping = build_mapping(
            self.detector.function.spec.labels,
            info.labels,
            label_map=self.options.label_map,
            allow_unmatched_labels=self.options.allow_unmatched_labels,
            conv_mask_to_poly=self.options.conv_mask_to_poly,
            ignore_case=self.options.ignore_case,
            task_name=f"task {info.task.id}",
        )
        self._remapper = LabelRemapper(
            mapping,
            conf_threshold=self.options.conf_threshold,
            label_thresholds=self.options.label_thresholds,
        )
        self.report.unmatched_labels = list(mapping.unmatched)
        return mapping

    def fetch_batch(self, batch: Batch) -> Box:
        """Download the chunks of a batch to disk."""
        assert self._plan is not None
        assert self._spool is not None
        chunks = []
        with self._timed("fetch"):
            for number in batch.chunks:
                path = self._spool / f"chunk-{number}.zip"
                path.write_bytes(self.client.chunk(self.task_id, number))
                first = number * self._plan.chunk_size
                chunks.append(ChunkFile(number, path, first, self._plan.chunk_length(number)))
        return Box(chunks)

    def detect_batch(self, batch: Batch, box: Box) -> BatchDetections:
        """Run the function on the frames of a batch, and empty the box."""
        with self._detect_lock, self._timed("detect") as elapsed:
            found = list(self.detector.detect(open_frames(box, batch.frames)))
            seconds = elapsed() / len(batch.frames)
            known = self._seconds_per_frame
            self._seconds_per_frame = seconds if known is None else 0.5 * (known + seconds)
        box.empty()
        return BatchDetections(found)

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Put what was found into the labels of the task."""
        assert self._remapper is not None
        with self._timed("remap"):
            return self._remapper.remap(detections.frames, {frame.number: frame for frame in batch.frames})

    def upload_batch(self, batch: Batch, annotations: Annotations) -> int:
        """Write the annotations of a batch to its jobs; return how many frames that were."""
        assert self._plan is not None
        with self._timed("upload"):
            everything = [*annotations.tags, *annotations.shapes]
            for job in self._plan.jobs_between(batch.frames[0].number, batch.frames[-1].number):
                self._writers[job.id].write(
                    batch.index,
                    [item for item in everything if job.start_frame <= item["frame"] <= job.stop_frame],
                )
        with self._report_lock:
            report = self.report
            report.frames += annotations.frames
            report.batches += 1
            report.labels = dict(Counter(report.labels) + annotations.labels)
            report.clipped += annotations.clipped
            report.outside += annotations.outside
            report.below_threshold += annotations.below_threshold
            report.unmatched = dict(Counter(report.unmatched) + annotations.unmatched)
            report.failed_frames.update(annotations.errors)
        return annotations.frames

    def finish_upload(self) -> None:
        """Read every job once more, and remove what is there twice or has been replaced."""
        with self._timed("upload"):
            for writer in self._writers.values():
                writer.finish()

    def undo_upload(self) -> None:
        """Remove what this run has written so far."""
        for writer in self._writers.values():
            writer.undo()

    # --- what holds them together ---

    @contextmanager
    def spool(self) -> Iterator[None]:
        """A folder for the chunks on their way, removed afterwards."""
        self._spool = Path(tempfile.mkdtemp(prefix="prefect-cvat-"))
        try:
            yield
        finally:
            shutil.rmtree(self._spool, ignore_errors=True)
            self._spool = None

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Cut the frames into batches of whole chunks, sized by how fast detection turns out to be."""
        chunks = deque(plan.chunks())
        index = 0
        while chunks:
            numbers: list[int] = []
            frames: list[Frame] = []
            most = self._frames_per_batch(len(plan.frames))
            while chunks and (not numbers or len(frames) + len(chunks[0][1]) <= most):
                number, selected = chunks.popleft()
                numbers.append(number)
                frames += selected
            yield Batch(index, numbers, frames)
            index += 1

    def _frames_per_batch(self, total: int) -> int:
        if self.options.batch_size is not None:
            return self.options.batch_size
        if self._seconds_per_frame is None:
            return 1  # one chunk, to see how long it takes
        return max(int(BATCH_SECONDS / max(self._seconds_per_frame, 1e-4)), total // MOST_BATCHES)

    def complete(self, seconds: float) -> RunReport:
        """The report, once all is done."""
        writers = self._writers.values()
        self.report.added = sum(writer.added for writer in writers)
        self.report.already_there = sum(writer.already_there for writer in writers)
        self.report.removed = sum(writer.removed for writer in writers)
        self.report.seconds = seconds
        return self.report

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
    """What was found in a batch. Plain, so that Prefect does not walk through it."""

    __slots__ = ("frames",)

    def __init__(self, frames: Sequence[FrameDetections]) -> None:
        self.frames = frames


class Submitter(Protocol):
    """Something that carries out stages and returns futures; arguments may be futures of its own."""

    def submit(self, stage: str, run: Run, *args: Any) -> Any:
        """Carry out a stage, given by the name of a method of `Run`."""
        ...


def run_pipeline(run: Run, submitter: Submitter, progress: Progress | None = None) -> RunReport:
    """Annotate a task.

    At most `window` batches are on their way at a time, whatever the size of the task: fetching runs
    ahead of detection, and uploading follows it.

    When the function breaks its contract, when an image is broken, or when the server stores something
    else than it was sent, all that the run has written is removed again. When the network or the
    server fails for good, what has been written stays, and running again completes it.

    Raises:
        PrefectCvatError: The run failed.
    """
    started = time.perf_counter()
    plan: Plan = submitter.submit("plan_task", run).result()
    submitter.submit("validate_spec", run).result()
    if progress is not None:
        progress.start(len(plan.frames))
    try:
        with run.spool():
            in_flight: deque[tuple[Any, ...]] = deque()
            try:
                for batch in run.batches(plan):
                    if len(in_flight) == run.options.window:
                        _await(in_flight.popleft(), progress)
                    box = submitter.submit("fetch_batch", run, batch)
                    found = submitter.submit("detect_batch", run, batch, box)
                    annotations = submitter.submit("remap_labels", run, batch, found)
                    done = submitter.submit("upload_batch", run, batch, annotations)
                    in_flight.append((box, found, annotations, done))
                while in_flight:
                    _await(in_flight.popleft(), progress)
            except BaseException:
                for futures in in_flight:
                    _settle(futures)
                raise
        submitter.submit("finish_upload", run).result()
    except (BadFunctionError, MediaError, UploadError):
        run.undo_upload()
        raise
    finally:
        if progress is not None:
            progress.finish()
    return run.complete(time.perf_counter() - started)


def _await(futures: tuple[Any, ...], progress: Progress | None) -> None:
    """Wait for a batch. Asking each stage in turn brings up the error of the first that failed."""
    frames = 0
    for future in futures:
        frames = future.result()
    if progress is not None:
        progress.advance(frames)


def _settle(futures: tuple[Any, ...]) -> None:
    """Let a batch that is on its way come to its end: nothing may be written behind our back."""
    for future in futures:
        if isinstance(future, Future):
            future.cancel()
    for future in futures:
        try:
            future.result()
        except Exception:  # noqa: S112 (the error that ended the run is being raised already)
            continue


class ThreadSubmitter:
    """Carries out stages in threads of this process: one for each stage, so that the stages overlap."""

    def __init__(self) -> None:
        self._executors: dict[str, ThreadPoolExecutor] = {}

    def submit(self, stage: str, run: Run, *args: Any) -> Future[Any]:
        """Carry out a stage; futures among the arguments are waited for in the stage's own thread."""
        executor = self._executors.get(stage)
        if executor is None:
            executor = self._executors[stage] = ThreadPoolExecutor(1, thread_name_prefix=stage)
        return executor.submit(_call, getattr(run, stage), args)

    def __enter__(self) -> ThreadSubmitter:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._executors.values():
            executor.shutdown(cancel_futures=True)


def _call(method: Callable[..., Any], args: Sequence[Any]) -> Any:
    return method(*(arg.result() if isinstance(arg, Future) else arg for arg in args))
