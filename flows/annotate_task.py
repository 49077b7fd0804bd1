"""The flow that annotates one task with a detection function."""

from __future__ import annotations

from prefect import flow

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.parameters import (
    DETECTION_FUNCTION,
    FrameSelection,
    LabelMatching,
    LeastIou,
    RunSettings,
    TaskId,
    Threshold,
    choose_function,
    make_options,
    name_run,
)
from prefect_cvat.flows.run_on_task import run_on_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.report import RunReport

__all__ = ["annotate_task"]


@flow(name="annotate task", flow_run_name=name_run, persist_result=False, retries=0)
def annotate_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: str = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    existing: Existing = Existing.KEEP,
    skip_existing_iou: LeastIou | None = None,
    skip_existing_source: ExistingSource = ExistingSource.MANUAL,
    conf_threshold: Threshold | None = None,
    allow_unmatched_labels: bool = False,
    conv_mask_to_poly: bool = False,
    labels: LabelMatching = LabelMatching(),  # noqa: B008 (frozen; the form shows its fields)
    frames: FrameSelection = FrameSelection(),  # noqa: B008
    settings: RunSettings = RunSettings(),  # noqa: B008
) -> RunReport:
    """Annotate a CVAT task with a detection function.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A built-in function, such as nanodet_detection, or one that a package has registered.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function and thresholds here.
        existing: What becomes of the annotations that the task has already.
        skip_existing_iou: Leave out existing tags, and shapes that overlap existing ones by this IoU.
        skip_existing_source: Whose annotations count for that: manual, auto, or all.
        conf_threshold: The least score, 0 to 1; empty leaves it to the function.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conv_mask_to_poly: Write polygons instead of masks.
        labels: How the labels of the function are matched with those of the task.
        frames: Which frames and jobs, and which images of them.
        settings: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    chosen = choose_function(
        function_block,
        function,
        function_parameters,
        labels=labels,
        device=settings.device,
        conf_threshold=conf_threshold,
        allow_unmatched_labels=allow_unmatched_labels,
        conv_mask_to_poly=conv_mask_to_poly,
    )
    options = make_options(
        chosen,
        frames,
        settings,
        existing=existing,
        skip_existing_iou=skip_existing_iou,
        skip_existing_source=skip_existing_source,
    )
    return run_on_task(
        credentials,
        task_id,
        chosen,
        options,
        lambda client, loaded: AnnotateRun(client, task_id, loaded, options, function_name=chosen.function),
    )
