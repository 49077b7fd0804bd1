"""The flow that evaluates a function, or the annotations of earlier runs, on one task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat import evaluation
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.evaluation import TaskEvaluation
from prefect_cvat.evaluation.plots import plot_precision_recall
from prefect_cvat.evaluation.tables import WAYS, headline, plain_lines, render_markdown, shape_rows
from prefect_cvat.evaluation.worst import DrawnFrame, find_worst_frames, open_frames_of
from prefect_cvat.flows.parameters import (
    DETECTION_FUNCTION,
    FrameSelection,
    LabelMatching,
    RunSettings,
    TaskId,
    Threshold,
    choose_function,
    chosen_name,
    make_options,
)
from prefect_cvat.flows.run_tags import add_tags, task_tag
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.reporting.markdown_report import escape
from prefect_cvat.runs.report import RunReport
from prefect_cvat.tasks.artifacts import ArtifactProgress, data_uri, warn_if_refused
from prefect_cvat.tasks.concurrency_limits import server_slot
from prefect_cvat.tasks.device_slots import loaded_function

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
def evaluate_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: str = "",
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    truth: Literal["manual", "ground_truth", "task"] = "manual",
    truth_task_id: TaskId | None = None,
    all_frames: bool = False,
    iou_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5,
    score_threshold: Threshold = 0.0,
    conf_threshold: Threshold | None = None,
    allow_unmatched_labels: bool = False,
    conv_mask_to_poly: bool = False,
    labels: LabelMatching = LabelMatching(),  # noqa: B008 (frozen; the form shows its fields)
    frames: FrameSelection = FrameSelection(),  # noqa: B008
    settings: RunSettings = RunSettings(),  # noqa: B008
) -> TaskEvaluation:
    """Hold what a function finds, or what runs have left, against what humans annotated; change nothing.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A function, such as nanodet_detection; empty evaluates what runs have left in the task.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function and thresholds here.
        truth: What humans annotated in the task, its ground-truth job, or what humans annotated in another.
        truth_task_id: The number of the other task, with the same images; frames are matched by name.
        all_frames: Count frames of a task also where no human has annotated anything.
        iou_threshold: The least IoU of a prediction with its object; average precision has its own.
        score_threshold: The least score of a prediction that counts; average precision looks at all.
        conf_threshold: The least score that the function returns, 0 to 1; empty leaves it to the function.
        allow_unmatched_labels: Drop what the task has no label for, instead of refusing.
        conv_mask_to_poly: Have polygons instead of masks.
        labels: How the labels of the function are matched with those of the task.
        frames: Which frames may count, and which images of them.
        settings: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        How good the annotations are.
    """
    logger = get_run_logger()
    chosen = None
    if function or function_block is not None:
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
        chosen or CvatFunction(function=DETECTION_FUNCTION, ignore_case=labels.ignore_case), frames, settings
    )
    name = chosen.function if chosen else None
    with credentials.get_client() as client:
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
            done = evaluation.evaluate_task(
                client,
                task_id,
                loaded,
                function_name=name,
                truth=truth,
                truth_task_id=truth_task_id,
                all_frames=all_frames,
                options=options,
                iou_threshold=iou_threshold,
                score_threshold=score_threshold,
                progress=ArtifactProgress(started, logger),
            )
        worst = open_frames_of(client, done, find_worst_frames(done, MAX_FRAMES), options.quality)
    _publish(done, worst)
    for line in plain_lines(done):
        logger.info(line)
    return done


def _publish(done: TaskEvaluation, worst: Sequence[DrawnFrame]) -> None:
    """Publish an evaluation as artifacts of the current flow run.

    The artifacts of task N are `evaluation-task-N` (Markdown); for each of `boxes`, `masks` and `keypoints`
    that was compared, the table by label `evaluation-boxes-task-N` and the curve
    `precision-recall-boxes-task-N`; and the frames with most mistakes, `worst-frame-1-task-N` and so on.
    """
    with warn_if_refused():
        _publish_all(done, worst)


def _publish_all(done: TaskEvaluation, worst: Sequence[DrawnFrame]) -> None:
    task = f"task-{done.task_id}"
    said = escape(headline(done))
    create_markdown_artifact(render_markdown(done), f"evaluation-{task}", said)
    for way, found in done.shapes.items():
        name = WAYS[way].lower()
        create_table_artifact(shape_rows(found), f"evaluation-{name}-{task}", f"{WAYS[way]} of {said}")
        uri = data_uri("image/png", plot_precision_recall(found))
        create_image_artifact(
            uri, f"precision-recall-{name}-{task}", f"Precision over recall, {name} of {said}"
        )
    for number, frame in enumerate(worst, 1):
        drawings = (frame.svg(width).encode() for width in WIDTHS)
        drawing = next((svg for svg in drawings if len(svg) <= MAX_PICTURE_BYTES), None)
        if drawing is not None:
            uri = data_uri("image/svg+xml", drawing)
            create_image_artifact(uri, f"worst-frame-{number}-{task}", escape(frame.description))
