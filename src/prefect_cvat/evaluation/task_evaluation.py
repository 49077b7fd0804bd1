"""Evaluates a function, or the automatic annotations of a task, on ground truth."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.evaluation.evaluated_task import EvaluatedTask
from prefect_cvat.evaluation.inputs.annotations_by_frame import AnnotationsByFrame, FrameAnnotations
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.inputs.compared_shapes import ComparedShapes
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruth, GroundTruthSource
from prefect_cvat.evaluation.inputs.predictions import Predictions
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.tag_metrics import TagEvaluation, evaluate_tags
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.models import Label
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import TaskInfo
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.runs.execution.pipeline import Submitter
from prefect_cvat.runs.execution.progress_bar import Progress

__all__ = ["TaskEvaluation", "evaluate_predictions", "evaluate_task"]


class TaskEvaluation(BaseModel):
    """The evaluation of a task.

    Attributes:
        task_id: Id of the task.
        task_name: Name of the task.
        url: Address of the task in CVAT.
        predictions: What was evaluated: the name of a function, or `automatic annotations`.
        truth: Description of the ground truth.
        seconds: Duration in seconds.
        frames: Number of evaluated frames.
        frames_from_cache: Number of frames whose detections came from the cache.
        left_out: Number of frames or annotations that were not evaluated, by reason.
        frame_errors: Errors on frames that the function failed on, by frame. These frames are not evaluated.
        shapes: The metrics of boxes (`bbox`), masks (`segm`) and skeletons (`keypoints`), if there are any.
        tags: The metrics of tags, if there are any.
        evaluated_frames: The evaluated frames.
        info: The task as the server describes it.
        compared: The compared shapes.
        function_labels: Ids of the task's labels by the function's label names; None without a function.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    task_id: int
    task_name: str
    url: str
    predictions: str
    truth: str
    seconds: float
    frames: int
    frames_from_cache: int
    left_out: dict[str, int]
    frame_errors: dict[int, str]
    shapes: dict[IouType, Evaluation]
    tags: TagEvaluation | None
    evaluated_frames: PlannedFrames = Field(exclude=True, repr=False)
    info: TaskInfo = Field(exclude=True, repr=False)
    compared: ComparedShapes = Field(exclude=True, repr=False)
    function_labels: dict[str, int] | None = Field(exclude=True, repr=False)


def evaluate_task(
    client: AnyClient,
    task_id: int,
    function: DetectionFunction | ForTask | None = None,
    *,
    function_name: str | None = None,
    truth: GroundTruthSource = "manual",
    truth_task_id: int | None = None,
    all_frames: bool = False,
    options: Options | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    progress: Progress | None = None,
    submitter: Submitter | None = None,
) -> TaskEvaluation:
    """Evaluate a function, or the automatic annotations of a task, on manual annotations.

    Nothing is written to the server. With a ground-truth job, all of its frames are evaluated. Otherwise the
    frames with manual annotations are: in a partly annotated task, a frame without annotations may not have
    been annotated yet. A detection without a matching manual annotation is a false positive, also if no
    manual annotation has its label; `label_map` can drop such a label.

    Example:
        ```python
        from prefect_cvat import Client
        from prefect_cvat.auto_annotation.functions import nanodet_detection
        from prefect_cvat.evaluation import evaluate_task
        from prefect_cvat.options.run_options import Options

        with Client("https://cvat.example.com", access_token="...") as client:
            options = Options(allow_unmatched_labels=True)
            result = evaluate_task(client, 123, nanodet_detection.create(), options=options)
            print(result.shapes["bbox"].ap)
        ```

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: Id of the task.
        function: A detection function, or its factory with a parameter `task_labels`; None evaluates the
            automatic annotations (source `auto`).
        function_name: The name of the function in the result.
        truth: `manual`: the manual annotations of the task (all that are not of source `auto`);
            `ground_truth`: its ground-truth job; `task`: the manual annotations of another task.
        truth_task_id: Id of the other task. It has the same images: frames are matched by name, frames of
            videos also by their numbers in the video.
        all_frames: Evaluate frames without manual annotations too: they have been checked and are empty.
        options: The options of the run and the selection of frames. Options about writing are ignored.
        iou_threshold: Minimum IoU (or OKS) of a match; average precision has its own thresholds.
        score_threshold: Minimum score; average precision and curves use all scores.
        progress: Receives the progress.
        submitter: Runs the stages of the function's run; None for threads of this process.

    Raises:
        NothingToEvaluateError: There are no annotations to evaluate, or no ground truth.
        PermissionDeniedError: The user may not read the task or its ground-truth job.
        BadFunctionError: The function does not fit the task, or has none of the labels of the ground truth.
        PrefectCvatError: A request to the server failed.
        ValueError: An argument is out of range.
    """
    task = EvaluatedTask.read(
        own_client(client),
        task_id,
        truth=truth,
        truth_task_id=truth_task_id,
        all_frames=all_frames,
        options=options,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        with_automatic=function is None,
    )
    if function is None:
        return evaluate_predictions(task, task.automatic_annotations())
    found = task.detect(function, function_name=function_name, progress=progress, submitter=submitter)
    return evaluate_predictions(task, found)


def evaluate_predictions(
    task: EvaluatedTask, predictions: Predictions, others: Sequence[Predictions] = ()
) -> TaskEvaluation:
    """Evaluate predictions on the ground truth of a task.

    Args:
        task: The task with its ground truth.
        predictions: The predictions.
        others: Predictions with which these are compared. Then only what is the same for all is evaluated:
            frames that all have, masks of labels that have outlines in all, and all ground truth with a label
            of one of them.

    Raises:
        BadFunctionError: The predictions have none of the labels of the ground truth.
        PrefectCvatError: The shapes cannot be compared.
        ValueError: A threshold is out of range.
    """
    info, truth, compared_with = task.info, task.ground_truth, (predictions, *others)
    _check_labels(info, truth, predictions)
    wanted = _wanted_labels(compared_with)
    absent = frozenset().union(*(each.absent for each in compared_with))
    with_shapes = truth.frames.where(lambda number: number not in absent)
    with_tags = truth.tag_frames.where(lambda number: number not in absent)
    shapes = [
        ComparedShapes(with_shapes, info.labels, truth.annotations.shapes, each.annotations.shapes, wanted)
        for each in compared_with
    ]
    if others:
        shapes[0].outlined = set.intersection(*(set(each.outlined) for each in shapes))
    evaluated = task.frames.where(lambda number: number not in absent)
    return TaskEvaluation(
        task_id=info.task.id,
        task_name=info.task.name,
        url=info.page(task.client.url),
        predictions=predictions.name,
        truth=truth.name,
        frames=len(evaluated),
        frames_from_cache=predictions.frames_from_cache,
        left_out={
            **truth.left_out,
            **predictions.left_out,
            **_left_out(truth.annotations, info.labels, wanted),
            **_absent_in_others(others, predictions.absent),
        },
        frame_errors=predictions.frame_errors,
        shapes=shapes[0].evaluate(iou_threshold=task.iou_threshold, score_threshold=task.score_threshold),
        tags=_evaluate_tags(
            info.labels, truth.annotations.tags, predictions.annotations.tags, wanted, with_tags
        ),
        evaluated_frames=evaluated,
        info=info,
        compared=shapes[0],
        function_labels=predictions.labels,
        seconds=time.perf_counter() - task.started,
    )


def _wanted_labels(predictions: Sequence[Predictions]) -> frozenset[int] | None:
    """Ids of the labels whose ground truth is evaluated: those that one of the predictions can have."""
    labels: frozenset[int] = frozenset()
    for each in predictions:
        if each.labels is None:
            return None
        labels |= frozenset(each.labels.values())
    return labels


def _absent_in_others(others: Sequence[Predictions], absent: Collection[int]) -> dict[str, int]:
    counts = {
        f"frames that {each.name} failed on or does not have": len(each.absent - frozenset(absent))
        for each in others
    }
    return {reason: count for reason, count in counts.items() if count}


def _check_labels(info: TaskInfo, ground_truth: GroundTruth, predictions: Predictions) -> None:
    """Check that the function has a label of the ground truth; otherwise all metrics would be 0."""
    annotated = set(ground_truth.annotations.labels)
    if predictions.labels is not None and annotated.isdisjoint(predictions.labels.values()):
        names = {label.id: label.name for label in info.labels}
        predicted_names = sorted(names[i] for i in set(predictions.labels.values()))
        true_names = quoted_list(sorted(names[i] for i in annotated))
        raise BadFunctionError(
            f"the labels do not match: {ground_truth.name} has {true_names}, but {predictions.name} predicts"
            f" {quoted_list(predicted_names) or 'no label of the task'}."
            f" Map its labels with {argument('label_map')}"
        )


def _left_out(
    truth: FrameAnnotations, labels: Sequence[Label], wanted: Collection[int] | None
) -> dict[str, int]:
    """Count the ground-truth annotations of labels that the function does not have."""
    names = {label.id: label.name for label in labels}
    return {
        f"annotations of label {names[label_id]!r}, which the function does not have": count
        for label_id, count in truth.labels.items()
        if wanted is not None and label_id not in wanted
    }


def _evaluate_tags(
    labels: Sequence[Label],
    truth: AnnotationsByFrame,
    predictions: AnnotationsByFrame,
    wanted: Collection[int] | None,
    frames: PlannedFrames,
) -> TagEvaluation | None:
    label_ids = truth.labels.keys() if wanted is None else truth.labels.keys() & wanted
    if not len(frames) or not (label_ids or predictions.labels):
        return None
    names = {label.id: label.name for label in labels}
    own = {label_id: names[label_id] for label_id in label_ids}
    return evaluate_tags(_by_frame(truth, own, frames), _by_frame(predictions, names, frames), frames.numbers)


def _by_frame(
    tags: AnnotationsByFrame, names: Mapping[int, str], frames: PlannedFrames
) -> dict[int, frozenset[str]]:
    same: dict[frozenset[str], frozenset[str]] = {}
    by_frame = {}
    for number in frames.numbers:
        if tags.has(number):
            own = frozenset(names[tag["label_id"]] for tag in tags.of(number) if tag["label_id"] in names)
            by_frame[number] = same.setdefault(own, own)
    return by_frame
