"""Predictions to evaluate: detections of a function, or the automatic annotations of a task.

Nothing is written to the server.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.evaluation.inputs.task_annotations import collect_annotations, read_annotations
from prefect_cvat.evaluation.inputs.truth_task import Relabeler, matching_frames
from prefect_cvat.exceptions import NothingToEvaluateError
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import Frame, FrameDetections
from prefect_cvat.media.chunk_download import chunk_type
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.label_mapping import LabelMapping
from prefect_cvat.planning.plan import Batch, Plan, TaskInfo, make_plan, read_task
from prefect_cvat.runs.annotate_run import AnnotateRun, PlannedAnnotateRun
from prefect_cvat.runs.execution.pipeline import Submitter, ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.progress_bar import Progress
from prefect_cvat.runs.execution.run_context import Workspace

__all__ = ["Predictions", "ReadOnlyRun", "detect_on_frames", "read_other_task", "read_run_annotations"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions on frames of a task.

    Attributes:
        name: The name of the function, or `automatic annotations`.
        annotations: The predictions, with labels of the task.
        labels: Ids of the task's labels by the function's label names; None without a function.
        frame_errors: Errors on frames that the function failed on, by frame.
        frames_from_cache: Number of frames whose detections came from the cache.
        missing: Frames that the other task or the file does not have.
        left_out: Number of predictions or frames that are not evaluated, by reason.
    """

    name: str
    annotations: FrameAnnotations
    labels: dict[str, int] | None = None
    frame_errors: dict[int, str] = field(default_factory=dict)
    frames_from_cache: int = 0
    missing: frozenset[int] = frozenset()
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def absent(self) -> frozenset[int]:
        """The frames without predictions: not those on which nothing was found."""
        return self.missing | self.frame_errors.keys()


def detect_on_frames(
    client: Client,
    info: TaskInfo,
    frames: Sequence[Frame],
    function: DetectionFunction | ForTask,
    options: Options,
    *,
    function_name: str | None = None,
    progress: Progress | None = None,
    submitter: Submitter | None = None,
) -> Predictions:
    """Run a function on frames of a task as `annotate_task` does, but upload nothing.

    Cached detections of a run with the same settings are used.

    Raises:
        BadFunctionError: The function does not fit the task, or broke its contract.
        PrefectCvatError: Something else failed.
    """
    run = _PredictionRun(client, info, frames, function, options, function_name=function_name)
    with ThreadSubmitter() if submitter is None else nullcontext(submitter) as runs_stages:
        report = run_pipeline(run, runs_stages, progress)
    failed = {
        **dict.fromkeys(run.failed_frames, "failed; only the first errors are recorded"),
        **report.frame_errors,
    }
    return Predictions(report.function, run.found, run.labels, failed, report.frames_from_cache)


def read_run_annotations(
    client: Client, info: TaskInfo, frames: Sequence[Frame], known: FrameAnnotations | None = None
) -> Predictions:
    """Read the automatic annotations (source `auto`) on frames.

    Args:
        client: The server.
        info: The task.
        frames: The frames.
        known: The automatic annotations, if they have been read; also those of other frames.

    Raises:
        NothingToEvaluateError: There are none on these frames.
    """
    found = known
    if found is None:
        found = collect_annotations(read_annotations(client, info), frames, automatic=True)
    if not any(found.has(frame.number) for frame in frames):
        pool = " Runs leave out the frames of a ground-truth pool." * (info.validation.mode == "gt_pool")
        raise NothingToEvaluateError(
            f"task {info.task.id} has no automatic annotations (source 'auto') on the"
            f" {pluralize(len(frames), 'frame')} to evaluate.{pool} Annotate them, or evaluate a function"
        )
    return Predictions("automatic annotations", found)


def read_other_task(
    client: Client, info: TaskInfo, frames: Sequence[Frame], task_id: int, *, ignore_case: bool = False
) -> Predictions:
    """Read the automatic annotations (source `auto`) of another task with the same images.

    Frames and labels are matched by name, frames of videos also by their numbers in the video.

    Raises:
        NothingToEvaluateError: There are none, or the tasks have no frame or label in common.
        PrefectCvatError: A request to the server failed.
    """
    name = f"the automatic annotations of task {task_id}"
    other = read_task(client, task_id)
    numbers = matching_frames(frames, info, make_plan(other).frames, other)
    there = [Frame(number, frame.name, frame.width, frame.height) for number, frame in numbers.items()]
    relabel = Relabeler(other.labels, info.labels, numbers, ignore_case)
    found = collect_annotations(read_annotations(client, other), there, automatic=True, change=relabel)
    left_out = relabel.left_out(name, info, found)
    if not found:
        raise NothingToEvaluateError(
            f"task {task_id} has no automatic annotations (source 'auto') on the"
            f" {pluralize(len(there), 'frame')} to evaluate; annotate them first"
        )
    missing = frozenset(frame.number for frame in frames) - {frame.number for frame in numbers.values()}
    if missing:
        left_out[f"frames that task {task_id} does not have"] = len(missing)
    return Predictions(name, found, missing=missing, left_out=left_out)


class ReadOnlyRun(AnnotateRun):
    """A run that writes nothing to the server: `keep` receives the annotations instead.

    Attributes:
        labels: Ids of the task's labels by the function's label names, once the function is validated.
    """

    def __init__(
        self,
        client: Client,
        info: TaskInfo,
        frames: Sequence[Frame],
        function: DetectionFunction | ForTask,
        options: Options,
        *,
        function_name: str | None,
    ) -> None:
        # there are no jobs to link to, and opening issues would write to the server
        options = options.changed(review_frames=0, open_issues=0)
        super().__init__(client, info.task.id, function, options, function_name=function_name)
        self.info = info
        self.labels: dict[str, int] = {}
        self._frames = info.frames_of(frame.number for frame in frames)

    @abstractmethod
    def keep(self, annotations: Sequence[dict[str, Any]]) -> None:
        """Receive tags and shapes, in the order of the frames."""

    @contextmanager
    def reserve_task(self) -> Iterator[Workspace]:
        """Make a temporary folder, without a lock on the task; a read-only token is enough."""
        with spool_folder() as folder:
            yield Workspace(folder)

    def _read_plan(self) -> Plan:
        """Plan all given frames, including those of a ground-truth pool, to which runs do not write."""
        chunk_type(self.info.task, self.options.quality)
        self._make_function(self.info.labels)
        return Plan(info=self.info, frames=self._frames, jobs=(), excluded={})

    def _plan(self, workspace: Workspace) -> PlannedReadOnlyRun:
        plan = self._read_plan()
        return PlannedReadOnlyRun(self, plan, workspace)


class PlannedReadOnlyRun(PlannedAnnotateRun):
    """The stages of a run that writes nothing.

    Args:
        run: The run.
        plan: The plan of the run.
        workspace: The folder for temporary files.
    """

    in_order: ClassVar[frozenset[str]] = frozenset({"upload_batch"})

    def __init__(self, run: ReadOnlyRun, plan: Plan, workspace: Workspace) -> None:
        super().__init__(run.context, plan, workspace, run.detector)
        self._run = run
        self._whole = make_plan(run.info)

    def validate_spec(self) -> LabelMapping:
        """Match the function's labels with the task's."""
        mapping = super().validate_spec()
        self._run.labels = {
            mapping.names[label_id]: target.id
            for label_id, target in mapping.targets.items()
            if target is not None
        }
        return mapping

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Pass the annotations of a batch to `ReadOnlyRun.keep`."""
        with self.context.working_on(batch):
            for pack in annotations.packs():
                self._run.keep(pack)
        annotations.empty()
        self._count(annotations)
        return annotations.frames

    def _read_cached(self, chunk: int, frames: Sequence[int]) -> Sequence[FrameDetections] | None:
        """The cached detections of these frames, or of their whole part of the chunk."""
        cached = super()._read_cached(chunk, frames)
        if cached is None:
            cached = super()._read_cached(chunk, self._whole.numbers_with(frames[0]))
            wanted = set(frames)
            cached = None if cached is None else [item for item in cached if item.frame in wanted]
        return cached if cached is not None and len(cached) == len(frames) else None


class _PredictionRun(ReadOnlyRun):
    """A run that stores its detections on disk."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.found = FrameAnnotations()

    def keep(self, annotations: Sequence[dict[str, Any]]) -> None:
        """Store tags and shapes."""
        for item in annotations:
            (self.found.shapes if "type" in item else self.found.tags).add(item)
