"""The flow that evaluates a function, or the annotations of earlier runs, on one task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation import TaskEvaluation
from prefect_cvat.evaluation import evaluate_task as evaluate
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruthSource
from prefect_cvat.evaluation.report.evaluation_page import render_evaluation
from prefect_cvat.evaluation.report.plots import plot_precision_recall
from prefect_cvat.evaluation.report.tables import HEADINGS, headline, plain_lines, render_markdown, shape_rows
from prefect_cvat.evaluation.report.worst_frames import DrawnFrame, fetch_worst_frames, rank_worst_frames
from prefect_cvat.files.output_file import write_text
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_tags import add_tags, task_tag
from prefect_cvat.flows.form import FunctionToEvaluate, form
from prefect_cvat.flows.function_choice import TaskId, choose_function, chosen_name
from prefect_cvat.frames import Quality
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.evaluation_options import EvaluationOptions
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.rendering.run_report_markdown import escape
from prefect_cvat.runs.reports.run_report import RunReport
from prefect_cvat.tasks.artifacts import ArtifactProgress, data_uri, warn_if_refused
from prefect_cvat.tasks.prefect_limits import server_slot
from prefect_cvat.tasks.review_page import publish_page
from prefect_cvat.tasks.stages import PrefectSubmitter
from prefect_cvat.tasks.wait_for_device import loaded_function

__all__ = ["evaluate_task"]

MAX_FRAMES = 4
"""The number of worst frames to show."""

WIDTHS = 640, 320
"""The longer side of a picture in pixels; the second if a picture of the first size has too many bytes."""

MAX_PICTURE_BYTES = 220_000
"""The maximum size of a picture: about 300,000 bytes in base64."""


def name_run() -> str:
    """The name of a run, such as `evaluate task 42 with nanodet_detection`."""
    parameters = flow_run.parameters
    name = chosen_name(parameters)
    what = f"task {parameters['task_id']}"
    return f"evaluate {what} with {name}" if name else f"evaluate existing annotations of {what}"


@flow(name="evaluate task", flow_run_name=name_run, persist_result=False, retries=0)
@form
def evaluate_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: FunctionToEvaluate = "",
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    truth: GroundTruthSource = "manual",
    truth_task_id: TaskId | None = None,
    evaluation: EvaluationOptions = EvaluationOptions(),
    labels: LabelOptions = LabelOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    frames: FrameOptions = FrameOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
) -> TaskEvaluation:
    """Evaluate a function, or what runs have left, on manual annotations; change nothing.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A function, such as nanodet_detection; empty evaluates what runs have left in the task.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        truth: What to evaluate on: manual annotations, the ground-truth job, or those of another task.
        truth_task_id: The number of the other task, with the same images; frames are matched by name.
        evaluation: Which frames count, and what counts as found.
        labels: Which labels of the function count, and from which confidence on.
        annotations: What the annotations are like that are evaluated.
        frames: Which frames may count, and which images of them.
        execution: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        How good the annotations are.
    """
    logger = get_run_logger()
    chosen = None
    if function or function_block is not None:
        chosen = choose_function(
            function_block, function, function_parameters, execution, labels, annotations
        )
    options = Options.of_form(labels if chosen is None else chosen, frames, execution)
    name = chosen.function if chosen else None
    with named_as_in_form(), credentials.get_client() as client:
        add_tags([task_tag(client.url, task_id), *([name] if name else [])])
        started = RunReport(
            task_id=task_id,
            task_name="",
            url=f"{client.url}/tasks/{task_id}",
            function=name or "",
            started=datetime.now(UTC),
        )
        with (
            loaded_function(chosen, client.url, warn=logger.warning)
            if chosen
            else server_slot(client.url, warn=logger.warning)
        ) as loaded:
            done = evaluate(
                client,
                task_id,
                loaded,
                function_name=name,
                truth=truth,
                truth_task_id=truth_task_id,
                all_frames=evaluation.all_frames,
                options=options,
                iou_threshold=evaluation.iou_threshold,
                score_threshold=evaluation.score_threshold,
                progress=ArtifactProgress(started, logger),
                submitter=PrefectSubmitter(),
            )
        worst = fetch_worst_frames(client, done, rank_worst_frames(done, MAX_FRAMES), options.quality)
        _publish_page(client, done, options.quality)
    _publish(done, worst)
    for line in plain_lines(done):
        logger.info(line)
    return completed(done, headline(done))


def _publish_page(client: Client, done: TaskEvaluation, quality: Quality) -> None:
    """Publish the page of an evaluation, if a folder for pages is set."""

    def write(file: Path, max_frames: int) -> None:
        write_text(file, render_evaluation(client, done, file, max_frames=max_frames, quality=quality))

    publish_page(done.task_id, escape(headline(done)), write)


def _publish(done: TaskEvaluation, worst: Sequence[DrawnFrame]) -> None:
    """Publish an evaluation as artifacts of the current flow run.

    The artifacts of task N are `evaluation-task-N` (Markdown); for each of `boxes`, `masks` and `keypoints`
    that was compared, the table by label `evaluation-boxes-task-N` and the curve
    `precision-recall-boxes-task-N`; and the frames with most mistakes, such as `worst-frame-7-task-N`.
    """
    with warn_if_refused():
        _publish_all(done, worst)


def _publish_all(done: TaskEvaluation, worst: Sequence[DrawnFrame]) -> None:
    task = f"task-{done.task_id}"
    description = escape(headline(done))
    create_markdown_artifact(render_markdown(done), f"evaluation-{task}", description)
    for iou_type, result in done.shapes.items():
        name = HEADINGS[iou_type].lower()
        create_table_artifact(
            shape_rows(result), f"evaluation-{name}-{task}", f"{HEADINGS[iou_type]} of {description}"
        )
        uri = data_uri("image/png", plot_precision_recall(result))
        create_image_artifact(
            uri, f"precision-recall-{name}-{task}", f"Precision over recall, {name} of {description}"
        )
    for frame in worst:
        drawings = (frame.svg(width).encode() for width in WIDTHS)
        drawing = next((svg for svg in drawings if len(svg) <= MAX_PICTURE_BYTES), None)
        if drawing is not None:
            uri = data_uri("image/svg+xml", drawing)
            create_image_artifact(uri, f"worst-frame-{frame.frame.number}-{task}", escape(frame.description))
