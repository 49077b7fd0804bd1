"""Running an auto-annotation function on a task, from a script."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from prefect_cvat.annotate_run import AnnotateRun
from prefect_cvat.client import Client
from prefect_cvat.existing import Existing
from prefect_cvat.mapping import LabelMap
from prefect_cvat.options import Options
from prefect_cvat.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.plan import Selection
from prefect_cvat.progress import progress_on
from prefect_cvat.report import RunReport

__all__ = ["annotate_task"]


def annotate_task(
    client: Client,
    task_id: int,
    function: Any,
    *,
    pbar: Any = None,
    clear_existing: bool = False,
    allow_unmatched_labels: bool = False,
    conf_threshold: float | None = None,
    conv_mask_to_poly: bool = False,
    existing: Existing | Literal["keep", "clear", "replace_auto"] | None = None,
    label_map: LabelMap | None = None,
    ignore_case: bool = False,
    label_thresholds: Mapping[str, float] | None = None,
    on_frame_error: Literal["fail", "skip"] = "fail",
    frames: Collection[int] | None = None,
    jobs: Collection[int] | None = None,
    quality: Literal["original", "compressed"] = "original",
    batch_size: int | None = None,
    downloads: int = 1,
    use_cache: bool = True,
    refresh_cache: bool = False,
) -> RunReport:
    """Annotate a task with a detection function, in this process and without a Prefect server.

    Images are fetched, looked at and annotated in batches that overlap, so the memory that this takes
    does not grow with the task. Running it again after a failure completes what is missing.

    Args:
        client: The server, logged in.
        task_id: The task.
        function: A detection function: an object or a module with `spec` and `detect`.
        pbar: Shows the progress: a tqdm bar, or a progress reporter as the CVAT SDK has them.
        clear_existing: Replace what the task has already; short for `existing="clear"`.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conf_threshold: The least score, 0 to 1; None leaves it to the function.
        conv_mask_to_poly: Have polygons instead of masks.
        existing: What becomes of the annotations that the task has already: `keep` (the default),
            `clear`, or `replace_auto`, which replaces machine output and keeps human work. Nothing is
            removed before its replacement is there.
        label_map: From the function's label names to the task's, where they differ; None drops a label.
        ignore_case: Match label names without regard to upper and lower case.
        label_thresholds: The least score for single labels, by the function's label names.
        on_frame_error: `fail`, or `skip` frames on which the function fails and report them.
        frames: Relative numbers of the frames to annotate; None for all.
        jobs: Ids of the annotation jobs to annotate; None for all.
        quality: `original`, or `compressed`: images as CVAT shows them to annotators, smaller to download
            (for videos only where the task was created with `use_zip_chunks`).
        batch_size: How many frames a batch has at the most (but at least a chunk); None adapts it.
        downloads: How many chunks are downloaded at a time.
        use_cache: Keep detections between runs: what was found on a chunk in an earlier run, with the same
            function, settings and media, is neither fetched nor detected again.
        refresh_cache: Detect everything anew, and keep that.

    Returns:
        What was done.

    Raises:
        BadFunctionError: The function does not fit the task or broke its contract. Nothing of the run
            is left on the server.
        PrefectCvatError: Something else failed.
        ValueError: An argument is out of its range.
    """
    if clear_existing and existing not in (None, Existing.CLEAR):
        raise ValueError(f"clear_existing=True contradicts existing={str(existing)!r}")
    options = Options(
        selection=Selection(frames=frames, jobs=jobs),
        existing=Existing.CLEAR if clear_existing else Existing(existing or Existing.KEEP),
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=label_map,
        ignore_case=ignore_case,
        conf_threshold=conf_threshold,
        label_thresholds=label_thresholds,
        conv_mask_to_poly=conv_mask_to_poly,
        on_frame_error=on_frame_error,
        quality=quality,
        batch_size=batch_size,
        downloads=downloads,
        use_cache=use_cache,
        refresh_cache=refresh_cache,
    )
    run = AnnotateRun(client, task_id, function, options)
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))
