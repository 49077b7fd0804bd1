"""Exporting a task, with what a function finds on it or with what is there already."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from itertools import islice
from pathlib import Path

from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import NothingToExportError
from prefect_cvat.export.coco import write_coco
from prefect_cvat.export.content import Content, Written
from prefect_cvat.export.folder import written_whole
from prefect_cvat.export.found import Found, find_by_function, read_from_server
from prefect_cvat.export.images import ImageFolder
from prefect_cvat.export.names import FileNames
from prefect_cvat.export.report import ExportReport
from prefect_cvat.export.yolo import import_supervision, write_yolo
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.media.chunk_download import chunk_type
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Plan, make_plan, read_task
from prefect_cvat.runs.progress import Progress

__all__ = ["DatasetFormat", "export_task"]

MOST_RENAMED = 1000
"""How many of the names that were changed are told in the report."""


class DatasetFormat(StrEnum):
    """What a dataset is like.

    Attributes:
        COCO: One file `annotations.json`.
        YOLO: `data.yaml` and a text file for each image, as Ultralytics has them.
    """

    COCO = "coco"
    YOLO = "yolo"

    def write(self, folder: Path, content: Content) -> Written:
        """Write a dataset, except its images."""
        writers: dict[DatasetFormat, Callable[[Path, Content], Written]] = {
            DatasetFormat.COCO: write_coco,
            DatasetFormat.YOLO: write_yolo,
        }
        return writers[self](folder, content)


def export_task(
    client: Client,
    task_id: int,
    function: DetectionFunction | None = None,
    *,
    folder: Path | str,
    format: DatasetFormat | str = DatasetFormat.COCO,
    images: bool = True,
    left_by_runs: bool = False,
    function_name: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write what a function finds on a task, or what is in it, as a dataset to train with.

    Nothing is written to the server. The frames are those that a run would annotate; the function's output
    is what such a run would write (labels mapped, thresholds applied, cut at the edges), and what one with
    the same settings has found before is not detected again. The folder appears when all of it is there.

    Example:
        ```python
        from prefect_cvat import Client
        from prefect_cvat.auto_annotation.functions import nanodet_detection
        from prefect_cvat.export import export_task
        from prefect_cvat.options.run_options import Options

        with Client("https://cvat.example.com", access_token="...") as client:
            export_task(
                client,
                123,
                nanodet_detection.create(),
                folder="dataset",
                format="yolo",
                options=Options(allow_unmatched_labels=True),
            )
        ```

    Args:
        client: The server, logged in.
        task_id: The task.
        function: A detection function; None exports what is in the task.
        folder: Where the dataset goes. It does not exist, or is empty.
        format: `coco` or `yolo` (extra `export`).
        images: Whether to write the images too.
        left_by_runs: Of what is in the task, take only what runs have left (source `auto`).
        function_name: What to call the function.
        options: How the function is run, and which frames are looked at. What is for writing does not count.
        progress: Is told how many frames are done.

    Raises:
        NothingToExportError: There are no frames, or nothing is in the task.
        BadFunctionError: The function does not fit the task, or broke its contract.
        MissingLibraryError: The extra `export` is not installed.
        StorageError: The disk does not take the dataset.
        PrefectCvatError: Something else failed.
        ValueError: An argument is out of its range, or the folder is not empty.
    """
    started = time.perf_counter()
    if function is not None and left_by_runs:
        raise ValueError("a function and left_by_runs exclude each other")
    format = _read_format(format)
    if format is DatasetFormat.YOLO:
        import_supervision()  # so that a missing library shows at once
    options = options or Options()
    folder = Path(folder).resolve()
    with written_whole(folder) as part, spool_folder() as scratch:
        plan = _plan(client, task_id, options, images)
        of_video = plan.task.mode == "interpolation"
        names = FileNames(plan.frames, of_video=of_video)
        image_folder = ImageFolder(part / "images", names) if images else None
        if function is None:
            found = read_from_server(
                client,
                plan,
                options,
                left_by_runs=left_by_runs,
                images=image_folder,
                scratch=scratch,
                progress=progress,
            )
        else:
            found = find_by_function(
                client,
                plan,
                function,
                options,
                function_name=function_name,
                images=image_folder,
                scratch=scratch,
                progress=progress,
            )
        frames = plan.frames.where(lambda number: number not in found.failed)
        if image_folder is not None:  # an image without its objects would teach that there are none
            for number in found.failed:
                image_folder.remove(plan.frames.by_number[number])
        content = Content(plan.info.labels, frames, names, found.packs)
        written = format.write(part, content)
    return ExportReport(
        task_id=task_id,
        task_name=plan.task.name,
        url=plan.info.page(client.url),
        source=found.source,
        format=format.value,
        folder=folder,
        seconds=time.perf_counter() - started,
        frames=len(frames),
        frames_from_cache=found.frames_from_cache,
        images=images,
        empty_frames=len(frames) - len(written.frames),
        labels=dict(written.labels),
        outlines=written.outlines,
        left_out=_left_out(plan, found, written),
        approximated=dict(written.approximated),
        renamed=[] if of_video else list(islice(names.changed(frames), MOST_RENAMED)),
        renamed_frames=0 if of_video else sum(1 for _ in names.changed(frames)),
        failed=len(found.failed),
        failed_frames=found.failed_frames,
    )


def _read_format(name: DatasetFormat | str) -> DatasetFormat:
    try:
        return DatasetFormat(name)
    except ValueError:
        known = ", ".join(repr(known.value) for known in DatasetFormat)
        raise ValueError(f"the format of a dataset must be one of {known}, not {name!r}") from None


def _plan(client: Client, task_id: int, options: Options, images: bool) -> Plan:
    info = read_task(client, task_id, options.selection)
    if images:
        chunk_type(info.task, options.quality)  # if they are of no use, say so now
    plan = make_plan(info, options.selection)
    if not plan.frames:
        why = ", ".join(f"{reason.value} ({len(frames)})" for reason, frames in plan.excluded.items())
        raise NothingToExportError(
            f"task {task_id} ({info.task.name!r}) has no frames to export; all are left out: {why}"
        )
    return plan


def _left_out(plan: Plan, found: Found, written: Written) -> dict[str, int]:
    reasons = Counter({f"frames: {reason.value}": len(frames) for reason, frames in plan.excluded.items()})
    return dict(reasons + Counter(found.left_out) + written.left_out)
