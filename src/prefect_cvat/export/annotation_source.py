"""The annotations of a dataset: detections of a function, or existing annotations of the task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.predictions import PlannedReadOnlyRun, ReadOnlyRun
from prefect_cvat.evaluation.inputs.task_annotations import annotations_on_frames, read_annotations
from prefect_cvat.exceptions import NothingToExportError
from prefect_cvat.export.dataset import Annotation, AnnotationFile
from prefect_cvat.export.image_folder import ImageFolder
from prefect_cvat.frames import BatchDetections, ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.execution.pipeline import Submitter, ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.progress_bar import Progress
from prefect_cvat.runs.execution.run_context import Workspace
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["SourceAnnotations", "detect_annotations", "read_from_server"]

BATCH_SIZE = 1000
"""Number of annotations in memory at a time."""


@dataclass(frozen=True, slots=True)
class SourceAnnotations:
    """The annotations to export.

    Attributes:
        source: A description of where they come from, for the report.
        batches: Tags and shapes, in lists that fit in memory.
        left_out: The number of annotations that are left out, by reason.
        failed: The frames that were skipped because the function failed on them.
        frame_errors: Errors on the first of them, by frame.
        frames_from_cache: The number of frames whose detections came from the cache.
    """

    source: str
    batches: Iterable[Sequence[Annotation]]
    left_out: dict[str, int] = field(default_factory=dict)
    failed: NumberSet = field(default_factory=NumberSet)
    frame_errors: dict[int, str] = field(default_factory=dict)
    frames_from_cache: int = 0


def detect_annotations(
    client: Client,
    plan: Plan,
    function: DetectionFunction | ForTask,
    options: Options,
    *,
    function_name: str | None,
    images: ImageFolder | None,
    scratch: Path,
    progress: Progress | None,
    submitter: Submitter | None,
) -> SourceAnnotations:
    """Run a function as `annotate_task` does, and keep the annotations instead of uploading them.

    Args:
        client: The server.
        plan: The frames.
        function: The detection function.
        options: The options of the run.
        function_name: The name of the function in reports; None takes the name of its type.
        images: The folder for the images; None writes none.
        scratch: A folder for temporary files.
        progress: Receives the progress.
        submitter: Runs the stages; None runs them in threads.

    Raises:
        BadFunctionError: The function does not fit the task, failed, or returned something invalid.
        PrefectCvatError: Reading from the server or writing to disk failed.
    """
    batches = AnnotationFile(scratch / "annotations.jsonl")
    run = _ExportRun(
        client,
        plan.info,
        plan.frames,
        function,
        options,
        function_name=function_name,
        batches=batches,
        images=images,
    )
    with nullcontext(submitter) if submitter else ThreadSubmitter() as stages:
        report = run_pipeline(run, stages, progress)
    return SourceAnnotations(
        f"detections of {report.function}",
        batches,
        _left_out(report),
        run.failed_frames,
        report.frame_errors,
        report.frames_from_cache,
    )


def read_from_server(
    client: Client,
    plan: Plan,
    options: Options,
    *,
    left_by_runs: bool,
    images: ImageFolder | None,
    scratch: Path,
    progress: Progress | None,
) -> SourceAnnotations:
    """Read the existing annotations of the task.

    Args:
        client: The server.
        plan: The frames.
        options: The options; only the quality of the images is used.
        left_by_runs: Whether to read automatic annotations (source `auto`) only.
        images: The folder for the images; None writes none.
        scratch: A folder for temporary files.
        progress: Receives the progress.

    Raises:
        NothingToExportError: There are no such annotations.
        PrefectCvatError: Reading from the server or writing to disk failed.
    """
    task = plan.task.id
    batches = AnnotationFile(scratch / "annotations.jsonl")
    parts = read_annotations(client, plan.info)
    automatic = True if left_by_runs else None
    wanted = (each for _, each in annotations_on_frames(parts, plan.frames, automatic=automatic))
    is_empty = True
    while batch := list(islice(wanted, BATCH_SIZE)):
        batches.append(batch)
        is_empty = False
    if is_empty:
        what = "automatic annotations" if left_by_runs else "annotations"
        raise NothingToExportError(
            f"there are no {what} on the {pluralize(len(plan.frames), 'frame')} of task {task};"
            " annotate them first, or give a function"
        )
    if images is not None:
        _save_images(client, plan, options, images, scratch, progress)
    return SourceAnnotations("automatic annotations" if left_by_runs else "all annotations", batches)


def _save_images(
    client: Client,
    plan: Plan,
    options: Options,
    images: ImageFolder,
    scratch: Path,
    progress: Progress | None,
) -> None:
    if progress is not None:
        progress.start(len(plan.frames))
    try:
        for number, frames in plan.chunks():
            chunk = fetch_chunk(client, plan, number, scratch, options.quality)
            images.save(chunk, frames)
            chunk.path.unlink()
            if progress is not None:
                progress.advance(len(frames))
    finally:
        if progress is not None:
            progress.finish()


def _left_out(report: RunReport) -> dict[str, int]:
    reasons = {
        "shapes below the score threshold": report.below_threshold,
        "shapes outside the image": report.outside,
        "empty shapes": report.empty_shapes,
        **{
            f"annotations of label {name!r}, which the task does not have": count
            for name, count in report.unmatched.items()
        },
    }
    return {reason: count for reason, count in reasons.items() if count}


class _ExportRun(ReadOnlyRun):
    """A run that writes annotations to a file, and the images of its chunks to a folder."""

    def __init__(self, *args: Any, batches: AnnotationFile, images: ImageFolder | None, **named: Any) -> None:
        super().__init__(*args, **named)
        self._packs = batches
        self._images = images

    def keep(self, annotations: Sequence[dict[str, Any]]) -> None:
        """Write tags and shapes to the file."""
        self._packs.append(annotations)

    def _plan(self, workspace: Workspace) -> PlannedReadOnlyRun:
        plan = self._read_plan()
        if self._images is None:
            return PlannedReadOnlyRun(self, plan, workspace)
        return _PlannedExportRun(self, plan, workspace, self._images)


class _PlannedExportRun(PlannedReadOnlyRun):
    """The stages of a run that exports images."""

    def __init__(self, run: _ExportRun, plan: Plan, workspace: Workspace, images: ImageFolder) -> None:
        super().__init__(run, plan, workspace)
        self._images = images

    def detect_batch(self, batch: Batch, chunks: ChunkBatch, _after: object = None) -> BatchDetections:
        """Run the function on the frames of a batch, when all of its images are in their folder."""
        with self.context.working_on(batch):
            for number in batch.chunks:
                self._chunks.get(number)
        return super().detect_batch(batch, chunks, _after)

    def _chunks_to_fetch(self, batch: Batch, _missing: Sequence[int]) -> Sequence[int]:
        """Also chunks whose detections are all cached, for their images."""
        return batch.chunks

    def _is_cached(self, _chunk: int, _frames: Sequence[Frame]) -> bool:
        return False

    def _use_chunk(self, chunk: ChunkFile) -> None:
        numbers = self.plan.numbers_in(chunk.number)
        self._images.save(chunk, [self.plan.frames.by_number[each] for each in numbers])
