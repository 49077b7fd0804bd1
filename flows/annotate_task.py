"""The flow that annotates one task with a detection function."""

from __future__ import annotations

from prefect import flow

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.form_titles_and_choices import DetectionFunctionName, form
from prefect_cvat.flows.function_choice import DETECTION_FUNCTION, TaskId, choose_function, name_run
from prefect_cvat.flows.run_on_task import run_on_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionSettings, ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["annotate_task"]


@flow(name="annotate task", flow_run_name=name_run, persist_result=False, retries=0)
@form
def annotate_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: DetectionFunctionName = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    labels: LabelOptions = LabelOptions(),
    existing_annotations: ExistingOptions = ExistingOptions(),
    frames: FrameOptions = FrameOptions(),
    review: ReviewOptions = ReviewOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
) -> RunReport:
    """Annotate a CVAT task with a detection function.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A built-in function or a registered one; or a module that the worker allows.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        labels: Which labels of the function are written, and from which confidence on.
        existing_annotations: What is done with existing annotations.
        frames: Which frames and jobs, and which images of them.
        review: Which frames are proposed for review.
        annotations: What the annotations are like that are written.
        execution: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    chosen = choose_function(function_block, function, function_parameters, execution, labels, annotations)
    options = Options.of_form(chosen, existing_annotations, frames, execution, review)
    return run_on_task(
        credentials,
        task_id,
        chosen,
        options,
        lambda client, loaded: AnnotateRun(client, task_id, loaded, options, function_name=chosen.function),
    )
