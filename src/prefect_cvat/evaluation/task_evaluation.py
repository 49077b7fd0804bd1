"""Evaluating a function, or what runs have left, on a task."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.annotations_by_frame import AnnotationsByFrame, FrameAnnotations
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.inputs.compared_shapes import ComparedShapes
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruth, GroundTruthSource, read_ground_truth
from prefect_cvat.evaluation.inputs.predictions import Predictions, detect_on_frames, read_run_annotations
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.tag_metrics import TagEvaluation, evaluate_tags
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.models import Label
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import TaskInfo, read_task
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.runs.execution.progress import Progress

__all__ = ["TaskEvaluation", "evaluate_task"]


class TaskEvaluation(BaseModel):
    """How good annotations of a task are.

    Attributes:
        task_id: The task.
        task_name: Its name.
        url: Its address in CVAT.
        predictions: What was evaluated: the name of a function, or what runs left.
        truth: The manual annotations that it was compared with.
        seconds: How long that took.
        frames: How many frames count.
        frames_from_cache: Of how many of them the detections were kept from an earlier run.
        left_out: How many frames or annotations do not count, by reason.
        frame_errors: What went wrong on frames that were skipped, by frame. They do not count.
        shapes: The evaluation of boxes (`bbox`), masks (`segm`) and skeletons (`keypoints`), those of them
            that there are.
        tags: The evaluation of tags, if there are any.
        evaluated_frames: The frames that count.
        info: What the server says of the task.
        compared: The shapes that were compared.
        function_labels: Ids of labels of the task by the function's names for them; None if not known.
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
    client: Client,
    task_id: int,
    function: DetectionFunction | None = None,
    *,
    function_name: str | None = None,
    truth: GroundTruthSource = "manual",
    truth_task_id: int | None = None,
    all_frames: bool = False,
    options: Options | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    progress: Progress | None = None,
) -> TaskEvaluation:
    """Hold what a function finds, or what runs have left, against what humans have annotated.

    Nothing is written to the server. Which frames count: all of a ground-truth job; else those on which a
    human has annotated something, because a frame of a task that is annotated in part may simply not have
    been looked at. On these frames, everything that was found and is not in the truth is a false alarm, also
    of a label that no human has used: `label_map` drops such a label.

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
        client: The server, logged in.
        task_id: The task.
        function: A detection function; None evaluates what runs have left (all of source `auto`).
        function_name: What to call the function.
        truth: `manual`: what humans annotated in the task (all that is not of source `auto`);
            `ground_truth`: its ground-truth job; `task`: what humans annotated in another task.
        truth_task_id: The other task, with the same images: frames are matched by name, those of videos also
            by their numbers in the video.
        all_frames: Count frames of a task also where no human has annotated anything: they were looked at.
        options: How the function is run, and which frames are looked at. What is for writing does not count.
        iou_threshold: The least IoU (or OKS) of a prediction with its object, except for average precision.
        score_threshold: The least score that counts, except for average precision and curves.
        progress: Is told how many frames are done.

    Raises:
        NothingToEvaluateError: There is nothing to evaluate, or nothing to hold it against.
        PermissionDeniedError: This user may not read the task, or its ground-truth job.
        BadFunctionError: The function does not fit the task, or finds none of the labels of the truth.
        PrefectCvatError: Something else failed.
        ValueError: An argument is out of its range.
    """
    started = time.perf_counter()
    options = options or Options()
    if options.selection.unannotated:
        raise ValueError("frames that nobody has annotated cannot be evaluated; name others, or none for all")
    info = read_task(client, task_id, options.selection)
    ground_truth = read_ground_truth(
        client,
        info,
        truth,
        truth_task_id=truth_task_id,
        selection=options.selection,
        all_frames=all_frames,
        ignore_case=options.ignore_case,
    )
    evaluated_frames = info.frames_of(
        np.union1d(ground_truth.frames.numbers, ground_truth.tag_frames.numbers)
    )
    predictions = (
        read_run_annotations(client, info, evaluated_frames)
        if function is None
        else detect_on_frames(
            client, info, evaluated_frames, function, options, function_name=function_name, progress=progress
        )
    )
    _check_labels(info, ground_truth, predictions)
    failed = predictions.frame_errors or {}
    wanted = None if predictions.labels is None else frozenset(predictions.labels.values())
    with_shapes = ground_truth.frames.where(lambda number: number not in failed)
    with_tags = ground_truth.tag_frames.where(lambda number: number not in failed)
    compared = ComparedShapes(
        with_shapes, info.labels, ground_truth.annotations.shapes, predictions.annotations.shapes, wanted
    )
    return TaskEvaluation(
        task_id=task_id,
        task_name=info.task.name,
        url=info.page(client.url),
        predictions=predictions.name,
        truth=ground_truth.name,
        frames=len(evaluated_frames) - len(failed),
        frames_from_cache=predictions.frames_from_cache,
        left_out={**ground_truth.left_out, **_left_out(ground_truth.annotations, info.labels, wanted)},
        frame_errors=failed,
        shapes=compared.evaluate(iou_threshold=iou_threshold, score_threshold=score_threshold),
        tags=_evaluate_tags(
            info.labels, ground_truth.annotations.tags, predictions.annotations.tags, wanted, with_tags
        ),
        evaluated_frames=evaluated_frames.where(lambda number: number not in failed),
        info=info,
        compared=compared,
        function_labels=predictions.labels,
        seconds=time.perf_counter() - started,
    )


def _check_labels(info: TaskInfo, ground_truth: GroundTruth, predictions: Predictions) -> None:
    """Say so if nothing of the truth can have been found: the figures would be zeros that mean nothing."""
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
    """How many annotations of the truth are of labels that the function does not know."""
    names = {label.id: label.name for label in labels}
    return {
        f"annotations of label {names[label_id]!r}, which it does not find": count
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
