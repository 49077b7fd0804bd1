"""Tries wordings for the labels of a task: which words find what people have annotated?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect_cvat.auto_annotation.factory_calls import takes_no_prompts
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask, wait_for_labels
from prefect_cvat.auto_annotation.label_prompts import FOUND_TYPES, readable, same_words
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.evaluation.inputs.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.evaluation.inputs.compared_shapes import ComparedShapes
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruthSource, read_ground_truth
from prefect_cvat.evaluation.inputs.predictions import detect_on_frames
from prefect_cvat.evaluation.metrics import LabelEvaluation
from prefect_cvat.evaluation.prompt_choice import chosen_prompts, why_unfit
from prefect_cvat.evaluation.report.prompt_trial_report import LEAST_AP50, PromptTrial, WordingResult
from prefect_cvat.exceptions import NothingToEvaluateError
from prefect_cvat.inference.provenance import name_of
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import Label
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import read_task
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.runs.execution.progress_bar import Progress

__all__ = ["suggested_wordings", "try_prompts"]

LOW_THRESHOLD = 0.05
"""The confidence threshold of a trial, unless one is given: average precision needs unsure detections too."""


def try_prompts(
    client: AnyClient,
    task_id: int,
    function: Any,
    wordings: Mapping[str, str | Sequence[str]] | None = None,
    *,
    suggest: bool = True,
    function_name: str | None = None,
    truth: GroundTruthSource = "manual",
    truth_task_id: int | None = None,
    all_frames: bool = False,
    options: Options | None = None,
    progress: Progress | None = None,
) -> PromptTrial:
    """Try wordings for each label on frames with manual annotations, and choose the best by evaluation.

    Nothing is written to the server. The function is made once, for all wordings of all labels, so each image
    is read once.

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: Id of the task.
        function: A function that is made for a task and takes prompts, as it was loaded; or its factory.
        wordings: Wordings by label, to be tried first: a list, or a text in which commas separate them.
        suggest: Try `suggested_wordings` too; otherwise a label without wordings is tried by its name.
        function_name: The name of the function in the result.
        truth: See `evaluate_task`.
        truth_task_id: See `evaluate_task`.
        all_frames: Evaluate frames without manual annotations too: they have been checked and are empty.
        options: The selection of frames, and how the function is run. The confidence threshold is
            `LOW_THRESHOLD` by default. Options about labels and about writing are ignored.
        progress: Receives the progress.

    Raises:
        NothingToEvaluateError: There is no ground truth, or none of labels that words could find.
        FunctionLoadError: The function cannot be made, or takes no prompts.
        ValueError: There are wordings for a label that the task does not have, or a wording has no words.
        PrefectCvatError: Something else failed.
    """
    client = own_client(client)
    started = time.perf_counter()
    options = options or Options()
    if options.selection.unannotated:
        raise ValueError("unannotated frames have no ground truth; select other frames, or none for all")
    function = wait_for_labels(function)
    name = function_name or name_of(function)
    if not isinstance(function, FunctionForTask) or not function.takes_prompts:
        raise takes_no_prompts(name)
    info = read_task(client, task_id, options.selection)
    given = _checked(wordings or {}, info.labels)
    ground_truth = read_ground_truth(
        client,
        info,
        truth,
        truth_task_id=truth_task_id,
        selection=options.selection,
        all_frames=all_frames,
        ignore_case=options.ignore_case,
    )
    shapes = ground_truth.annotations.shapes
    pairs, not_tried = _pairs(info.labels, given, shapes.labels, suggest=suggest)
    if not pairs:
        reasons = "; ".join(f"{label!r} {why}" for label, why in not_tried.items())
        raise NothingToEvaluateError(f"no label of task {task_id} can be tried: {reasons}")
    words = _labels_of_words(pairs)
    # an object that two wordings describe is found by both
    trial = function.changed(iou_across_labels=1.0)
    try:
        predictions = detect_on_frames(
            client,
            replace(info, labels=tuple(words.values())),
            ground_truth.frames,
            trial,
            options.changed(
                prompts={label.name: [label.name] for label in words.values()},
                conf_threshold=LOW_THRESHOLD if options.conf_threshold is None else options.conf_threshold,
                label_thresholds=None,
                label_map=None,
                allow_unmatched_labels=False,
            ),
            function_name=name,
            progress=progress,
        )
    finally:
        # the functions of an ensemble that the caller has loaded stay open
        trial.close() if function.is_of_run else trial.close_made()
    failed = predictions.frame_errors or {}
    frames = ground_truth.frames.where(lambda number: number not in failed)
    results = _measure(frames, pairs, words, shapes, predictions.annotations.shapes)
    best = {each.label: each for each in reversed(results)}
    prompts, taken = chosen_prompts(results, info.labels)
    return PromptTrial(
        task_id=task_id,
        task_name=info.task.name,
        url=info.page(client.url),
        function=predictions.name,
        truth=ground_truth.name,
        frames=len(frames),
        seconds=time.perf_counter() - started,
        results=tuple(results),
        prompts=prompts,
        why_unfit=why_unfit(info.labels, prompts),
        taken=taken,
        not_found={label: each.ap50 for label, each in best.items() if each.ap50 < LEAST_AP50},
        not_tried=not_tried,
    )


def suggested_wordings(name: str) -> list[str]:
    """Wordings for the name of a label: itself, with an article, and as a caption; none without words.

    Example:
        Of `traffic_light`: `traffic light`, `a traffic light`, `a photo of a traffic light`.
    """
    words = readable(name)
    if not words:
        return []
    article = "an" if words[0] in "aeiou" else "a"
    return [words, f"{article} {words}", f"a photo of {article} {words}"]


_Pairs = list[tuple[Label, str]]
"""Each label with each of its wordings."""


def _checked(wordings: Mapping[str, Any], labels: Sequence[Label]) -> dict[str, list[str]]:
    names = [label.name for label in labels]
    checked: dict[str, list[str]] = {}
    for label, given in wordings.items():
        if label not in names:
            raise ValueError(
                f"{argument('wordings')} names {label!r}, not a label of the task"
                f"{did_you_mean(label, names) or f'; there are {quoted_list(names)}'}"
            )
        # as in prompts: a comma in a text separates wordings
        listed = [each for each in given.split(",") if each.strip()] if isinstance(given, str) else given
        if (
            not isinstance(listed, Sequence)
            or (isinstance(given, str) and not listed)
            or not all(isinstance(each, str) and any(map(str.isalnum, each)) for each in listed)
        ):
            raise ValueError(
                f"{argument('wordings')} of label {label!r}: {given!r} is neither words nor a list of them"
            )
        checked[label] = [" ".join(each.split()) for each in listed]
    return checked


def _pairs(
    labels: Iterable[Label],
    given: Mapping[str, Sequence[str]],
    objects: Mapping[int, int],
    *,
    suggest: bool,
) -> tuple[_Pairs, dict[str, str]]:
    """What to try, and the labels that cannot be tried, each with the reason."""
    pairs: _Pairs = []
    not_tried: dict[str, str] = {}
    for label in labels:
        own, suggested = given.get(label.name, ()), suggested_wordings(label.name)
        wordings = _distinct([*own, *suggested] if suggest else own or suggested[:1])
        if label.type not in FOUND_TYPES:
            not_tried[label.name] = f"is of type {label.type}, which words do not find"
        elif not objects.get(label.id):
            not_tried[label.name] = "has no manual shapes on these frames"
        elif not wordings:
            not_tried[label.name] = f"has no words in its name; give some with {argument('wordings')}"
        else:
            pairs += [(label, wording) for wording in wordings.values()]
    return pairs, not_tried


def _labels_of_words(pairs: _Pairs) -> dict[str, Label]:
    """A label for each wording, by `same_words`: the function is made for these.

    They are of type any: boxes are compared, which all functions can find.
    """
    distinct = _distinct(wording for _, wording in pairs)
    return {key: Label(id=number, name=name) for number, (key, name) in enumerate(distinct.items(), 1)}


def _distinct(wordings: Iterable[str]) -> dict[str, str]:
    """Wordings by `same_words`: of those that are the same to a model, the first."""
    found: dict[str, str] = {}
    for wording in wordings:
        found.setdefault(same_words(wording), wording)
    return found


def _measure(
    frames: PlannedFrames,
    pairs: _Pairs,
    words: Mapping[str, Label],
    truth: AnnotationsByFrame,
    predicted: AnnotationsByFrame,
) -> list[WordingResult]:
    """Compare what each wording found with the objects of each label that it is tried for."""
    tried = [Label(id=number, name=str(number)) for number in range(1, len(pairs) + 1)]
    by_label: dict[int, list[int]] = {}
    by_wording: dict[int, list[int]] = {}
    for place, (label, wording) in zip(tried, pairs, strict=True):
        by_label.setdefault(label.id, []).append(place.id)
        by_wording.setdefault(words[same_words(wording)].id, []).append(place.id)
    compared = ComparedShapes(
        frames, tried, _copied(truth, frames, by_label), _copied(predicted, frames, by_wording), wanted=None
    )
    boxes = compared.evaluate(iou_threshold=0.5, score_threshold=0.0).get("bbox")
    measured = {} if boxes is None else boxes.by_label
    results = [
        _result(label.name, wording, measured.get(place.name))
        for place, (label, wording) in zip(tried, pairs, strict=True)
    ]
    order = {label: number for number, label in enumerate(dict.fromkeys(each.label for each in results))}
    return sorted(results, key=lambda each: (order[each.label], -each.ap, -each.ap50))


def _copied(
    shapes: AnnotationsByFrame, frames: PlannedFrames, copies: Mapping[int, Sequence[int]]
) -> AnnotationsByFrame:
    """The shapes with other labels: those of `copies`, by their own."""
    copied = AnnotationsByFrame()
    for number in frames.numbers:
        for shape in shapes.of(int(number)):
            for label_id in copies.get(shape["label_id"], ()):
                copied.add({**shape, "label_id": label_id})
    return copied


def _result(label: str, wording: str, measured: LabelEvaluation | None) -> WordingResult:
    return WordingResult(
        label=label,
        wording=wording,
        objects=0 if measured is None else measured.truth,
        ap=0.0 if measured is None else measured.ap or 0.0,
        ap50=0.0 if measured is None else measured.ap50 or 0.0,
        best_f1=None if measured is None else measured.best_f1,
        best_threshold=None if measured is None else measured.best_threshold,
    )
