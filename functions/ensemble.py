"""Several detection functions as one: what they agree on has a high score, what only one finds a low one.

Boxes that several functions have found of an object are averaged (weighted boxes fusion). The score of an
object is the weighted mean of the scores of all functions that have its label, 0 for those that have not
found it. So their disagreement lowers the score, by which reports say what to look at first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from prefect_cvat.auto_annotation import DetectionFunction
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.functions._ensemble import EnsembleFunction, ThreeStepEnsemble, Weight
from prefect_cvat.auto_annotation.functions._named_functions import named_functions
from prefect_cvat.auto_annotation.functions._nested_function import check_can_be_nested
from prefect_cvat.auto_annotation.labels_for_factories import Prompts, TaskLabel
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean

__all__ = ["EnsembleFunction", "create"]


def create(
    functions: Mapping[str, DetectionFunction | str] | Sequence[DetectionFunction | str] | None = None,
    *,
    weights: Mapping[str, Weight] | None = None,
    iou: float = 0.55,
    min_votes: int = 1,
    score_threshold: float = 0.3,
    vote_threshold: float = 0.05,
    device: str | None = None,
    batch_size: int | None = None,
    **named: Any,
) -> EnsembleFunction | FunctionForTask:
    """Make a detection function of several others.

    Labels with the same name are one label. Rectangles of an object are averaged; of its masks, polygons,
    ellipses or cuboids, which are compared by their bounding boxes, the one with the best score stays. A tag
    stays if functions with at least half of the weight give it. If a function is made for the labels of a
    task, so is the ensemble.

    Example:
        `create(near="nanodet_detection", tiles="tiled", **{"tiles.function": "nanodet_detection"})`, on the
        command line `-p near=str:nanodet_detection -p tiles=str:tiled -p
        tiles.function=str:nanodet_detection`.

    Args:
        functions: Two or more functions, or names of functions, such as `nanodet_detection`.
        weights: The weight of each function by its name here; one number, or one by label, such as its
            average precision in an evaluation: finite, 0 or more, and above 0 for one of the functions with
            the label. Labels that are not named get the mean of those that are.
        iou: Minimum IoU with the mean box of an object, 0 to 1.
        min_votes: Minimum number of functions that find an object; if fewer have its label, all of these.
        score_threshold: Minimum score of an object when the run sets no threshold.
        vote_threshold: Minimum score of a detection of a function, 0 to 1: it may be a second vote for what
            another function is sure of.
        device: For the functions that are given by their names and take a device.
        batch_size: Likewise, the greatest number of images that a model gets at once.
        **named: Functions by names of your choice, and as `NAME.PARAMETER` the parameters of one that is
            given by its name.

    Raises:
        TypeError: A parameter belongs to no function, or to one that is not given by its name; or something
            is no function.
        ValueError: There are fewer than two functions, or a number is out of its range.
        FunctionLoadError: There is no function of a name, or it cannot be made.
        BadFunctionError: The labels of the functions do not fit together.
    """
    for name, value in {
        "iou": iou, "score_threshold": score_threshold, "vote_threshold": vote_threshold
    }.items():  # fmt: skip
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")
    shared = {"device": device, "batch_size": batch_size}
    members = named_functions(
        functions, named, {name: each for name, each in shared.items() if each is not None}
    )
    if min_votes < 1 or min_votes > len(members):
        raise ValueError(f"min_votes must be between 1 and {len(members)}, not {min_votes}")
    given = dict(weights or {})
    if strangers := sorted(given.keys() - members.keys()):
        raise ValueError(f"weights names {', '.join(strangers)}; the functions are {', '.join(members)}")
    for name, weight in given.items():
        values = (
            [each for each in weight.values() if each is not None]
            if isinstance(weight, Mapping)
            else [weight]
        )
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"the weights of {name} must be finite and 0 or more, not {weight}")
    ensemble = partial(
        _ensemble,
        members,
        weights=given,
        iou=iou,
        min_votes=min_votes,
        score_threshold=score_threshold,
        vote_threshold=vote_threshold,
    )
    if any(isinstance(each, FunctionForTask) for each in members.values()):
        # labels of weights are not compared: each task has others
        return FunctionForTask(ensemble, name="ensemble", members=[*members.values()])
    made = ensemble()
    _check_labels(given, [label.name for label in made.spec.labels])
    return made


def _check_labels(weights: Mapping[str, Weight], labels: Sequence[str]) -> None:
    """Check that a function has each label that is given a weight; one with None has none.

    Raises:
        ValueError: No function has a label.
    """
    for name, weight in weights.items():
        of_labels = weight if isinstance(weight, Mapping) else {}
        for label in (label for label, value in of_labels.items() if value is not None):
            if label not in labels:
                raise ValueError(
                    f"the weights of {name} name {label!r}, which is no label of the functions"
                    f"{did_you_mean(label, labels) or f'; there are {quoted_list(labels)}'}"
                )


def _ensemble(
    members: Mapping[str, Any],
    *,
    task_labels: Sequence[TaskLabel] | None = None,
    prompts: Prompts | None = None,
    **settings: Any,
) -> EnsembleFunction:
    """Make an ensemble, and those of its functions that are made for the labels of a task.

    Raises:
        BadFunctionError: A function needs more of a run than images.
    """
    functions = {
        name: each.make(task_labels, prompts if each.takes_prompts else None)
        if isinstance(each, FunctionForTask)
        else each
        for name, each in members.items()
    }
    for function in functions.values():
        check_can_be_nested(function)
    has_steps = all(hasattr(each, "infer_batch") for each in functions.values())
    for_task = [each for each in members.values() if isinstance(each, FunctionForTask)]
    return (ThreeStepEnsemble if has_steps else EnsembleFunction)(
        functions,
        # the others are used for the next task too
        closing=[each.close_made for each in for_task] if for_task else None,
        **settings,
    )
