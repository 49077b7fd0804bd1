"""Exports a task as a dataset, with detections of a function or with its existing annotations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from itertools import islice
from pathlib import Path

from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.exceptions import NothingToExportError
from prefect_cvat.export.annotation_source import SourceAnnotations, detect_annotations, read_from_server
from prefect_cvat.export.coco import write_coco
from prefect_cvat.export.dataset import Dataset, WriteSummary
from prefect_cvat.export.export_report import ExportReport
from prefect_cvat.export.frame_file_names import FileNames
from prefect_cvat.export.image_folder import ImageFolder
from prefect_cvat.export.output_folder import atomic_folder
from prefect_cvat.export.yolo import import_supervision, write_yolo
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.media.chunk_download import chunk_type
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Plan, make_plan, read_task
from prefect_cvat.runs.execution.pipeline import Submitter
from prefect_cvat.runs.execution.progress_bar import Progress

__all__ = ["DatasetFormat", "export_task"]

MAX_RENAMED = 1000
"""Maximum number of changed names in the report."""


class DatasetFormat(StrEnum):
    """The format of a dataset.

    Attributes:
        COCO: One file `annotations.json`.
        YOLO: `data.yaml` and a text file for each image, as Ultralytics reads them.
    """

    COCO = "coco"
    YOLO = "yolo"

    def write(self, folder: Path, dataset: Dataset) -> WriteSummary:
        """Write everything but the images of a dataset."""
        writers: dict[DatasetFormat, Callable[[Path, Dataset], WriteSummary]] = {
            DatasetFormat.COCO: write_coco,
            DatasetFormat.YOLO: write_yolo,
        }
        return writers[self](folder, dataset)


def export_task(
    client: AnyClient,
    task_id: int,
    function: DetectionFunction | ForTask | None = None,
    *,
    folder: Path | str,
    format: DatasetFormat | str = DatasetFormat.COCO,
    images: bool = True,
    left_by_runs: bool = False,
    function_name: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    submitter: Submitter | None = None,
) -> ExportReport:
    """Write a function's detections on a task, or its existing annotations, as a dataset for training.

    Nothing is written to the server. The frames and annotations are those that `annotate_task` would write
    (labels mapped, thresholds applied, shapes clipped). Cached detections of a run with the same settings
    are used. The folder is created only when the dataset is complete.

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
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task.
        function: A detection function, or its factory with a parameter `task_labels`; None exports the
            existing annotations.
        folder: The folder of the dataset. It does not exist or is empty.
        format: `coco` or `yolo` (extra `export`).
        images: Whether to write the images, too.
        left_by_runs: Export automatic annotations (source `auto`) only; not with a function.
        function_name: The name of the function in the report; None takes the name of its type.
        options: The options of the run, with the selection of frames. Options about writing are ignored.
        progress: Receives the progress.
        submitter: Runs the stages of a function; None runs them in threads.

    Returns:
        What was exported and left out.

    Raises:
        NothingToExportError: There are no frames, or no annotations.
        BadFunctionError: The function does not fit the task, failed, or returned something invalid.
        MissingLibraryError: The extra `export` is not installed.
        StorageError: The dataset cannot be written.
        PrefectCvatError: A request to the server failed.
        ValueError: An argument is invalid, or the folder is not empty.
    """
    client = own_client(client)
    started = time.perf_counter()
    if function is not None and left_by_runs:
        raise ValueError("left_by_runs exports existing annotations; leave out the function, or left_by_runs")
    format = _read_format(format)
    if format is DatasetFormat.YOLO:
        import_supervision()  # fails at once if it is missing
    options = options or Options()
    folder = Path(folder).resolve()
    with atomic_folder(folder) as part, spool_folder() as scratch:
        plan = _plan(client, task_id, options, images)
        of_video = plan.task.mode == "interpolation"
        names = FileNames(plan.frames, of_video=of_video)
        image_folder = ImageFolder(part / "images", names) if images else None
        if function is None:
            annotations = read_from_server(
                client,
                plan,
                options,
                left_by_runs=left_by_runs,
                images=image_folder,
                scratch=scratch,
                progress=progress,
            )
        else:
            annotations = detect_annotations(
                client,
                plan,
                function,
                options,
                function_name=function_name,
                images=image_folder,
                scratch=scratch,
                progress=progress,
                submitter=submitter,
            )
        frames = plan.frames.where(lambda number: number not in annotations.failed)
        if image_folder is not None:  # an image without its objects would be a false negative in training
            for number in annotations.failed:
                image_folder.remove(plan.frames.by_number[number])
        dataset = Dataset(plan.info.labels, frames, names, annotations.batches)
        written = format.write(part, dataset)
    return ExportReport(
        task_id=task_id,
        task_name=plan.task.name,
        url=plan.info.page(client.url),
        source=annotations.source,
        format=format.value,
        folder=folder,
        seconds=time.perf_counter() - started,
        frames=len(frames),
        frames_from_cache=annotations.frames_from_cache,
        images=images,
        empty_frames=len(frames) - len(written.frames),
        labels=dict(written.labels),
        outlines=written.outlines,
        left_out=_left_out(plan, annotations, written),
        approximated=dict(written.approximated),
        renamed=[] if of_video else list(islice(names.changed(frames), MAX_RENAMED)),
        renamed_frames=0 if of_video else sum(1 for _ in names.changed(frames)),
        frames_failed=len(annotations.failed),
        frame_errors=annotations.frame_errors,
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
        chunk_type(info.task, options.quality)  # fails at once if the chunks cannot be used
    plan = make_plan(info, options.selection)
    if not plan.frames:
        why = ", ".join(f"{reason.value} ({len(frames)})" for reason, frames in plan.excluded.items())
        raise NothingToExportError(
            f"task {task_id} ({info.task.name!r}) has no frames to export; all are left out: {why}"
        )
    return plan


def _left_out(plan: Plan, annotations: SourceAnnotations, written: WriteSummary) -> dict[str, int]:
    reasons = Counter({f"frames: {reason.value}": len(frames) for reason, frames in plan.excluded.items()})
    return dict(reasons + Counter(annotations.left_out) + written.left_out)
