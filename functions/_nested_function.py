"""Functions that run another detection function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import PIL.Image

from prefect_cvat.auto_annotation import BadFunctionError, DetectionFunction, DetectionFunctionContext
from prefect_cvat.auto_annotation.function_calls import check_sees_single_images
from prefect_cvat.auto_annotation.function_for_task import make_function, wait_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel
from prefect_cvat.auto_annotation.loading import load_function, takes_parameter

__all__ = ["check_can_be_nested", "detect_on", "made_for"]


def check_can_be_nested(function: DetectionFunction) -> None:
    """Check that another function can run a function.

    Raises:
        BadFunctionError: The function needs more of a run than images.
    """
    name = type(function).__name__
    if getattr(function, "reads_existing_shapes", False):
        raise BadFunctionError(
            f"{name!r} starts from the shapes that are on an image, such as exemplars, and another function"
            " cannot show it any; make it without them"
        )
    check_sees_single_images(function)


def detect_on(
    function: DetectionFunction,
    contexts: Sequence[DetectionFunctionContext],
    images: Sequence[PIL.Image.Image],
) -> Sequence[object]:
    """Run a detection function on images, all at once if it can.

    Returns:
        Its output for each image, not checked.

    Raises:
        BadFunctionError: It returned another number of results than there are images.
    """
    detect_batch = getattr(function, "detect_batch", None)
    if detect_batch is None:
        return [function.detect(context, image) for context, image in zip(contexts, images, strict=True)]
    outputs: Sequence[object] = detect_batch(contexts, images)
    if len(outputs) != len(images):
        raise BadFunctionError(f"detect_batch returned {len(outputs)} results for {len(images)} images")
    return outputs


def made_for(
    detector: DetectionFunction | str, options: Mapping[str, Any], device: str, labels: Sequence[str]
) -> DetectionFunction:
    """Make a function that another one runs.

    Args:
        detector: The function, or its name.
        options: For making it, if it is a name.
        device: Its device, if the options name none.
        labels: The labels for a function that is made for the labels of a task.

    Raises:
        FunctionLoadError: It cannot be made.
        BadFunctionError: Another function cannot run it.
        TypeError: There are options for a function that is not a name.
    """
    if isinstance(detector, str):
        given = {"device": device} if takes_parameter(detector, "device") else {}
        detector = load_function(detector, {**given, **options})
    elif options:
        raise TypeError("only a detector by name takes detector_options")
    made: DetectionFunction = make_function(
        wait_for_labels(detector), [TaskLabel(name, "rectangle") for name in labels]
    )
    check_can_be_nested(made)
    return made
