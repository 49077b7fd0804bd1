"""Running an auto-annotation function on a task, from a script."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.options.label_map import LabelMap
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.selection import Selection
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.progress import progress_on
from prefect_cvat.runs.report import RunReport

__all__ = ["annotate_task"]


def annotate_task(
    client: Client,
    task_id: int,
    function: DetectionFunction,
    *,
    pbar: Any = None,
    clear_existing: bool = False,
    allow_unmatched_labels: bool = False,
    conf_threshold: float | None = None,
    conv_mask_to_poly: bool = False,
    existing: Existing | Literal["keep", "clear", "replace_auto"] | None = None,
    skip_existing_iou: float | None = None,
    skip_existing_source: ExistingSource | Literal["manual", "auto", "all"] = ExistingSource.MANUAL,
    label_map: LabelMap | None = None,
    ignore_case: bool = False,
    label_thresholds: Mapping[str, float] | None = None,
    score_attribute: str | None = "score",
    model_attribute: str | None = "model",
    on_frame_error: Literal["fail", "skip"] = "fail",
    frames: Collection[int] | Literal["unannotated"] | None = None,
    jobs: Collection[int] | None = None,
    quality: Literal["original", "compressed"] = "original",
    batch_size: int | None = None,
    downloads: int = 1,
    use_cache: bool = True,
    refresh_cache: bool = False,
    review_frames: int = 20,
    open_issues: int = 0,
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
        skip_existing_iou: Leave out what is annotated already: shapes that overlap one of the same label on
            the same frame by this intersection over union or more, and tags of the same label. Where both
            have outlines (polygons, masks, ellipses, turned rectangles), these are compared, otherwise the
            boxes around both; tracks as they are on the frame. Points and polylines have no area, and are
            never left out. None adds everything.
        skip_existing_source: Whose annotations count for that: `manual` (the default: whatever is not of
            source `auto`), `auto`, or `all`.
        label_map: From the function's label names to the task's, where they differ; None drops a label.
        ignore_case: Match label names without regard to upper and lower case.
        label_thresholds: The least score for single labels, by the function's label names. It may be below
            `conf_threshold`, or below what the function returns by itself, if the function tells that in an
            attribute `score_threshold` (as built-in ones do) or each label is given a threshold here.
        score_attribute: Where a label of the task has an attribute of this name, of type text or number, it
            gets the score of each annotation (as percent where its numbers go beyond 1), unless the function
            fills it itself; None for none.
        model_attribute: The same for the name of the function, with its `version` if it tells one; of type
            text, or select or radio with the name among its values.
        on_frame_error: `fail`, or `skip` frames on which the function fails and report them.
        frames: Relative numbers of the frames to annotate; None for all. `unannotated`: those without any
            annotation, be it of a human or of a run.
        jobs: Ids of the annotation jobs to annotate; None for all.
        quality: `original`, or `compressed`: images as CVAT shows them to annotators, smaller to download
            (for videos only where the task was created with `use_zip_chunks`).
        batch_size: How many frames a batch has at the most (but at least a chunk, or 75 frames of a larger
            one); None adapts it.
        downloads: How many chunks are downloaded at a time.
        use_cache: Keep detections between runs: what was found on a chunk in an earlier run, with the same
            function, settings and media, is neither fetched nor detected again.
        refresh_cache: Detect everything anew, and keep that.
        review_frames: How many frames to report that should be looked at first, see `RunReport.review`.
        open_issues: On how many of them an issue is opened in CVAT, for the annotators to see; no frame
            gets a second one.

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
        selection=_selection(frames, jobs),
        existing=Existing.CLEAR if clear_existing else Existing(existing or Existing.KEEP),
        skip_existing_iou=skip_existing_iou,
        skip_existing_source=ExistingSource(skip_existing_source),
        allow_unmatched_labels=allow_unmatched_labels,
        label_map=label_map,
        ignore_case=ignore_case,
        conf_threshold=conf_threshold,
        label_thresholds=label_thresholds,
        conv_mask_to_poly=conv_mask_to_poly,
        score_attribute=score_attribute,
        model_attribute=model_attribute,
        on_frame_error=on_frame_error,
        quality=quality,
        batch_size=batch_size,
        downloads=downloads,
        use_cache=use_cache,
        refresh_cache=refresh_cache,
        review_frames=review_frames,
        open_issues=open_issues,
    )
    run = AnnotateRun(client, task_id, function, options)
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))


def _selection(
    frames: Collection[int] | Literal["unannotated"] | None, jobs: Collection[int] | None
) -> Selection:
    if not isinstance(frames, str):
        return Selection(frames=frames, jobs=jobs)
    if frames != "unannotated":
        raise ValueError(f"frames must be numbers, 'unannotated' or None, not {frames!r}")
    return Selection(jobs=jobs, unannotated=True)
