"""The flow that evaluates a function, or the annotations of earlier runs, on one task."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from prefect_cvat.auto_annotation.function_for_task import takes_prompts
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation import TaskComparison, TaskEvaluation
from prefect_cvat.evaluation.comparison.task_comparison import check_not_itself, compare_predictions
from prefect_cvat.evaluation.evaluated_task import EvaluatedTask
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruthSource
from prefect_cvat.evaluation.inputs.predictions import Predictions
from prefect_cvat.evaluation.report.comparison_tables import (
    comparison_headline,
    comparison_lines,
)
from prefect_cvat.evaluation.report.evaluation_page import render_evaluation
from prefect_cvat.evaluation.report.tables import headline, plain_lines
from prefect_cvat.evaluation.report.worst_frames import (
    DrawnFrame,
    fetch_worst_frames,
    most_different_frames,
    rank_worst_frames,
)
from prefect_cvat.evaluation.task_evaluation import evaluate_predictions
from prefect_cvat.files.output_file import write_text
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_keys import add_tags, task_tag
from prefect_cvat.flows.form_titles_and_choices import OptionalFunction, form
from prefect_cvat.flows.function_choice import TaskId, choose_function, chosen_name
from prefect_cvat.frames import Quality
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.evaluation_options import ComparisonOptions, EvaluationOptions
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.rendering.run_report_markdown import escape
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks.artifacts import ArtifactProgress, warn_if_not_drawn
from prefect_cvat.tasks.evaluation_artifacts import publish_evaluation
from prefect_cvat.tasks.prefect_limits import server_slot
from prefect_cvat.tasks.review_page import publish_page
from prefect_cvat.tasks.stages import PrefectSubmitter
from prefect_cvat.tasks.wait_for_device import loaded_function

__all__ = ["evaluate_task"]

MAX_FRAMES = 4
"""The number of worst frames to show."""


def name_run() -> str:
    """The name of a run, such as `evaluate task 42 with nanodet_detection`."""
    parameters = flow_run.parameters
    name = chosen_name(parameters)
    what = f"task {parameters['task_id']}"
    block, options = parameters.get("against_block"), parameters.get("comparison")
    against = getattr(options, "against", None) if block is None else block.function
    other = f" against {against}" if against else ""
    return (
        f"evaluate {what} with {name}{other}" if name else f"evaluate existing annotations of {what}{other}"
    )


@flow(name="evaluate task", flow_run_name=name_run, persist_result=False, retries=0)
@form
def evaluate_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: OptionalFunction = "",
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    truth: GroundTruthSource = "manual",
    truth_task_id: TaskId | None = None,
    evaluation: EvaluationOptions = EvaluationOptions(),
    comparison: ComparisonOptions = ComparisonOptions(),
    against_block: CvatFunction | None = None,
    labels: LabelOptions = LabelOptions(),
    frames: FrameOptions = FrameOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
) -> TaskEvaluation | TaskComparison:
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
        comparison: What it is compared with, such as another function, automatic, or task:42.
        against_block: A block with the function to compare with, in place of that of comparison.
        labels: Which labels of the function count, and from which confidence on.
        frames: Which frames may count, and which images of them.
        annotations: What the annotations are like that are evaluated.
        execution: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        How good the annotations are, or how they differ from those that they are compared with.
    """
    logger = get_run_logger()
    chosen = None
    if function or function_block is not None:
        chosen = choose_function(
            function_block, function, function_parameters, execution, labels, annotations
        )
    against = _against(task_id, comparison, against_block, execution, labels, annotations)
    comparison.check_used(has_other=against is not None)
    options = Options.of_form(labels if chosen is None else chosen, frames, execution)
    name = chosen.function if chosen else None
    with named_as_in_form(), credentials.get_client() as client:
        add_tags([task_tag(client.url, task_id), *([name] if name else [])])
        if chosen is None and against is not None:
            check_not_itself(task_id, against)

        def predict(task: EvaluatedTask, function: CvatFunction, loaded: Any) -> Predictions:
            started = RunReport(
                task_id=task_id,
                task_name="",
                url=f"{client.url}/tasks/{task_id}",
                function=function.function,
                started=datetime.now(UTC),
            )
            return task.detect(
                loaded,
                function_name=function.function,
                progress=ArtifactProgress(started, logger),
                submitter=PrefectSubmitter(),
            )

        def slot_of(function: CvatFunction | None) -> AbstractContextManager[Any]:
            if function is None:
                return server_slot(client.url, warn=logger.warning)
            return loaded_function(function, client.url, warn=logger.warning)

        with slot_of(chosen) as loaded:
            task = EvaluatedTask.read(
                client,
                task_id,
                truth=truth,
                truth_task_id=truth_task_id,
                all_frames=evaluation.all_frames,
                options=options,
                iou_threshold=evaluation.iou_threshold,
                score_threshold=evaluation.score_threshold,
                with_automatic=chosen is None or against == task_id,
            )
            first = predict(task, chosen, loaded) if chosen else task.automatic_annotations()
        if against is None:
            compared, done = None, evaluate_predictions(task, first)
        else:
            if isinstance(against, CvatFunction):
                own_options = Options.of_form(against, frames, execution)
                with slot_of(against) as loaded:
                    if against_block is None and takes_prompts(loaded):
                        own_options = own_options.changed(prompts=labels.prompts)
                    second = predict(task.with_options(own_options), against, loaded)
            else:
                with slot_of(None):
                    second = (
                        task.written_by(against)
                        if isinstance(against, str)
                        else task.automatic_annotations(against)
                    )
            compared = compare_predictions(
                task, first, second, resamples=comparison.resamples, seed=comparison.seed
            )
            done = compared.first
        ranked = (
            rank_worst_frames(done, MAX_FRAMES)
            if compared is None
            else most_different_frames(compared, MAX_FRAMES)
        )
        worst: list[DrawnFrame] = []
        with warn_if_not_drawn(f"the pictures of task {task_id}"):
            worst = fetch_worst_frames(client, done, ranked, options.quality)
        _publish_page(client, done, options.quality, compared)
    publish_evaluation(done, worst, compared)
    for line in plain_lines(done) if compared is None else comparison_lines(compared):
        logger.info(line)
    if compared is None:
        return completed(done, headline(done))
    return completed(compared, comparison_headline(compared))


def _against(
    task_id: int,
    comparison: ComparisonOptions,
    block: CvatFunction | None,
    execution: ExecutionSettings,
    labels: LabelOptions,
    annotations: AnnotationOptions,
) -> CvatFunction | int | str | None:
    """What to compare with: a function, a task with automatic annotations, or an earlier run.

    Raises:
        ValueError: A file was chosen: a form must not read files of the worker.
    """
    if block is not None:
        return choose_function(block, "", execution=execution)
    kind, name = comparison.against_source
    if kind in ("coco_file", "function_file"):
        raise ValueError(
            f"{argument('against')} is the file {name!r}; a flow compares with a function by name, with"
            " 'automatic', with the automatic annotations of another task as 'task:ID', or with an earlier"
            " run as 'run:ID'"
        )
    if kind == "run":
        return name
    if kind in ("automatic", "task"):
        return int(name or task_id)
    if kind == "none":
        return None
    # whether it takes prompts is known when it is loaded
    own_labels = labels.changed(label_map=comparison.against_label_map, label_thresholds=None, prompts=None)
    parameters = dict(comparison.against_parameters or {})
    return choose_function(None, name, parameters, execution, own_labels, annotations)


def _publish_page(
    client: Client, done: TaskEvaluation, quality: Quality, compared: TaskComparison | None
) -> None:
    """Publish the page of an evaluation, if a folder for pages is set."""

    def write(file: Path, max_frames: int) -> None:
        page = render_evaluation(
            client, done, file, max_frames=max_frames, quality=quality, compared=compared
        )
        write_text(file, page)

    publish_page(done.task_id, escape(headline(done)), write)
