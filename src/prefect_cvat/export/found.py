"""Where the annotations of a dataset come from: a function, or the server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.predictions import ReadingRun
from prefect_cvat.evaluation.truth import each_on_frames, read_annotations
from prefect_cvat.exceptions import NothingToExportError
from prefect_cvat.export.content import Annotation, PackFile
from prefect_cvat.export.images import ImageFolder
from prefect_cvat.frames import ChunkBatch, ChunkFile
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.progress import Progress
from prefect_cvat.runs.report import RunReport

__all__ = ["Found", "find_by_function", "read_from_server"]

PACK_SIZE = 1000
"""How many annotations are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on frames.

    Attributes:
        source: What it is.
        packs: Tags and shapes, a part of them at a time.
        left_out: How many of these are not among them, by reason.
        failed: The frames that were skipped because the function failed on them.
        failed_frames: What went wrong on the first of them, by frame.
        frames_from_cache: Of how many frames the detections were kept from an earlier run.
    """

    source: str
    packs: Iterable[Sequence[Annotation]]
    left_out: dict[str, int] = field(default_factory=dict)
    failed: NumberSet = field(default_factory=NumberSet)
    failed_frames: dict[int, str] = field(default_factory=dict)
    frames_from_cache: int = 0


def find_by_function(
    client: Client,
    plan: Plan,
    function: DetectionFunction,
    options: Options,
    *,
    function_name: str | None,
    images: ImageFolder | None,
    scratch: Path,
    progress: Progress | None,
) -> Found:
    """Run a function as a run that annotates does, and keep what that would write.

    Args:
        client: The server.
        plan: Which frames.
        function: The function.
        options: How it is run.
        function_name: What to call it.
        images: Where to put the images, if anywhere.
        scratch: A folder for what is found, until it has been used.
        progress: Is told how many frames are done.

    Raises:
        BadFunctionError: The function does not fit the task, or broke its contract.
        PrefectCvatError: Something else failed.
    """
    packs = PackFile(scratch / "found.jsonl")
    run = _ExportRun(
        client,
        plan.info,
        plan.frames,
        function,
        options,
        function_name=function_name,
        packs=packs,
        images=images,
    )
    with ThreadSubmitter() as threads:
        report = run_pipeline(run, threads, progress)
    return Found(
        f"what {report.function} finds",
        packs,
        _left_out(report),
        run.failed,
        report.failed_frames,
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
) -> Found:
    """Read what is in the task: what humans and runs have left, or only the latter (source `auto`).

    Raises:
        NothingToExportError: There is nothing.
        PrefectCvatError: Something else failed.
    """
    task = plan.task.id
    packs = PackFile(scratch / "found.jsonl")
    parts = read_annotations(client, plan.info)
    by_machine = True if left_by_runs else None
    wanted = (each for _, each in each_on_frames(parts, plan.frames, by_machine=by_machine))
    is_empty = True
    while pack := list(islice(wanted, PACK_SIZE)):
        packs.append(pack)
        is_empty = False
    if is_empty:
        who = "no run has left anything" if left_by_runs else "there are no annotations"
        raise NothingToExportError(
            f"{who} on the {pluralize(len(plan.frames), 'frame')} of task {task};"
            " annotate them first, or give a function"
        )
    if images is not None:
        _save_images(client, plan, options, images, scratch, progress)
    return Found(f"what {'runs left in it' if left_by_runs else 'is in it'}", packs)


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
    for number, frames in plan.chunks():
        chunk = fetch_chunk(client, plan, number, scratch, options.quality)
        images.save(chunk, frames)
        chunk.path.unlink()
        if progress is not None:
            progress.advance(len(frames))
    if progress is not None:
        progress.finish()


def _left_out(report: RunReport) -> dict[str, int]:
    reasons = {
        "shapes below their threshold": report.below_threshold,
        "shapes outside their image": report.outside,
        "empty shapes": report.empty_shapes,
        **{
            f"annotations of label {name!r}, which the task does not have": count
            for name, count in report.unmatched.items()
        },
    }
    return {reason: count for reason, count in reasons.items() if count}


class _ExportRun(ReadingRun):
    """A run that puts what it finds into a file, and images into a folder as their chunks come by."""

    def __init__(self, *args: Any, packs: PackFile, images: ImageFolder | None, **named: Any) -> None:
        super().__init__(*args, **named)
        self._packs = packs
        self._images = images

    def fetch_batch(self, batch: Batch) -> ChunkBatch:
        """Download the chunks of a batch; for their images also those of which all is known already."""
        box = super().fetch_batch(batch)
        if self._images is not None:
            with self._named(batch):
                for number in batch.chunks:
                    self._chunks.get(batch.index, number)
        return box

    def keep(self, annotations: Sequence[dict[str, Any]]) -> None:
        """Put tags and shapes into the file."""
        self._packs.append(annotations)

    def _fetch(self, number: int) -> ChunkFile:
        chunk = super()._fetch(number)
        if self._images is not None:
            numbers = self.plan.numbers_in(number)
            self._images.save(chunk, [self.plan.frames.by_number[each] for each in numbers])
        return chunk
