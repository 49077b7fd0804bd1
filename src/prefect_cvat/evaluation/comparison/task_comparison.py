"""Compares two functions, or two runs, on the ground truth of a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict

from prefect_cvat.auto_annotation.function_for_task import takes_prompts
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.evaluation.comparison.differences import ShapeComparison, compare_evaluations
from prefect_cvat.evaluation.evaluated_task import EvaluatedTask
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruthSource
from prefect_cvat.evaluation.inputs.predictions import Predictions
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation, evaluate_predictions
from prefect_cvat.exceptions import NothingToEvaluateError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.options.label_and_threshold_options import LabelMap
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.execution.progress_bar import Progress

__all__ = ["Against", "TaskComparison", "check_not_itself", "compare_predictions", "compare_task"]

Against: TypeAlias = DetectionFunction | int | str | Path | None
"""What a function or the automatic annotations of a task are compared with: a function; the id of another
task with the same images, for its automatic annotations; the id of an earlier run on the task, for what it
has written; a data set in COCO's format; None for the automatic annotations of the task itself."""


class TaskComparison(BaseModel):
    """Two evaluations of a task on the same frames and the same ground truth.

    Attributes:
        first: The one evaluation.
        second: The evaluation that it is compared with.
        shapes: The differences of boxes (`bbox`), masks (`segm`) and skeletons (`keypoints`), if there are
            any. Masks of a label are compared if both have outlines of it.
    """

    model_config = ConfigDict(frozen=True)

    first: TaskEvaluation
    second: TaskEvaluation
    shapes: dict[IouType, ShapeComparison]


def compare_task(
    client: AnyClient,
    task_id: int,
    function: DetectionFunction | None,
    against: Against,
    *,
    function_name: str | None = None,
    against_name: str | None = None,
    against_label_map: LabelMap | Mapping[str, Any] | None = None,
    truth: GroundTruthSource = "manual",
    truth_task_id: int | None = None,
    all_frames: bool = False,
    options: Options | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> TaskComparison:
    """Compare a function, or the automatic annotations of a task, with another function or other annotations.

    Both are evaluated as by `evaluate_task`, on the frames that both have, and on all ground truth with a
    label that one of them has. Nothing is written to the server.

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: Id of the task.
        function: A detection function; None for the automatic annotations (source `auto`) of the task.
        against: What it is compared with.
        function_name: The name of the function in the result.
        against_name: The name of the other function in the result.
        against_label_map: Labels of the task by labels of the other function. The `label_map` and the
            `label_thresholds` of the options are for `function`; all other options are for both, except that
            a function that takes no `prompts` is compared with without them.
        truth: See `evaluate_task`, as for the following arguments.
        truth_task_id: Id of the task with the ground truth.
        all_frames: Evaluate frames without manual annotations too.
        options: The options of the runs and the selection of frames.
        iou_threshold: Minimum IoU (or OKS) of a match.
        score_threshold: Minimum score.
        resamples: Number of resamples of the frames, for the intervals.
        seed: The seed of the resamples.
        progress: Receives the progress.

    Raises:
        NothingToEvaluateError: There are no annotations to evaluate, no ground truth, or no common frames.
        PermissionDeniedError: The user may not read the task or its ground-truth job.
        BadFunctionError: A function does not fit the task, or has none of the labels of the ground truth.
        PrefectCvatError: A request to the server failed.
        ValueError: An argument is out of range, or annotations would be compared with themselves.
    """
    if function is None:
        check_not_itself(task_id, against)
    task = EvaluatedTask.read(
        own_client(client),
        task_id,
        truth=truth,
        truth_task_id=truth_task_id,
        all_frames=all_frames,
        options=options,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        with_automatic=function is None or against is None or against == task_id,
    )
    if isinstance(against, Path):  # first, because it may be unreadable
        second = task.coco_file(against)
    elif isinstance(against, str):
        second = task.written_by(against)
    elif against is None or isinstance(against, int):
        second = task.automatic_annotations(against)
    else:
        own_options = task.options.changed(
            label_map=against_label_map,
            label_thresholds=None,
            prompts=task.options.prompts if takes_prompts(against) else None,
        )
        second = task.with_options(own_options).detect(against, function_name=against_name, progress=progress)
    first = (
        task.automatic_annotations()
        if function is None
        else task.detect(function, function_name=function_name, progress=progress)
    )
    return compare_predictions(task, first, second, resamples=resamples, seed=seed)


def check_not_itself(task_id: int, against: object) -> None:
    """Check what the automatic annotations of a task are compared with.

    Raises:
        ValueError: They would be compared with themselves.
    """
    if against is None or against == task_id:
        raise ValueError(
            f"the automatic annotations of task {task_id} would be compared with themselves; give a function,"
            f" or another {argument('against')}"
        )


def compare_predictions(
    task: EvaluatedTask, first: Predictions, second: Predictions, *, resamples: int = 1000, seed: int = 0
) -> TaskComparison:
    """Compare predictions on the ground truth of a task.

    Raises:
        NothingToEvaluateError: They have no frame in common.
        BadFunctionError: One of them has none of the labels of the ground truth.
        PrefectCvatError: The shapes cannot be compared.
        ValueError: An argument is out of range.
    """
    absent = first.absent | second.absent
    if all(frame.number in absent for frame in task.frames):
        raise NothingToEvaluateError(
            f"{first.name} and {second.name} have none of the {pluralize(len(task.frames), 'frame')} of task"
            f" {task.info.task.id} to evaluate in common"
        )
    one = evaluate_predictions(task, first, [second])
    other = evaluate_predictions(task, second, [first])
    images = one.compared.frames.numbers
    return TaskComparison(
        first=one,
        second=other,
        shapes={
            iou_type: compare_evaluations(
                one.shapes[iou_type], other.shapes[iou_type], images, resamples=resamples, seed=seed
            )
            for iou_type in one.shapes
            if iou_type in other.shapes
        },
    )
