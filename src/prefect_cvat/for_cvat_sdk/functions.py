"""Our functions with the interface of `cvat_sdk.auto_annotation` (2.80)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import models as sdk_models

from prefect_cvat.auto_annotation.function_calls import check_sees_single_images, place_of, read_spec
from prefect_cvat.auto_annotation.function_for_task import make_function
from prefect_cvat.auto_annotation.interface import TrackableShape
from prefect_cvat.auto_annotation.loading import load_function, load_function_file, load_function_module
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError
from prefect_cvat.for_cvat_sdk.sdk_models import sdk_label, sdk_shape, sdk_tag
from prefect_cvat.frames import Frame, UnnumberedFrame
from prefect_cvat.geometry.clip_at_image_edge import clip_keypoint, clip_shape
from prefect_cvat.inference.detector import Detector
from prefect_cvat.inference.image_calls import preprocess_image
from prefect_cvat.models import (
    AttributeValRequest,
    LabeledShapeRequest,
    ShapeType,
    enum_value,
)

__all__ = ["as_cvat_sdk", "create"]

_CHOICES = {"name": load_function, "module": load_function_module, "file": load_function_file}


def create(
    name: str | None = None, *, module: str | None = None, file: str | None = None, **parameters: Any
) -> cvataa.AutoAnnotationFunction:
    """Load a function for `cvat-cli`, which takes these arguments as `-p name=str:... -p device=str:cuda`.

    Args:
        name: A built-in function, such as `nanodet_detection`, or a registered one.
        module: The module of a function, instead of a name.
        file: The Python file of a function, instead of a name.
        **parameters: The arguments of the function's own `create`. The SDK names no task, so a function that
            is made for a task needs the labels here: `-p task_labels=json:["car"]`.

    Raises:
        FunctionLoadError: Not exactly one function is chosen, or it cannot be loaded.
        BadFunctionError: It is not a function.
    """
    chosen = {key: value for key, value in zip(_CHOICES, (name, module, file), strict=True) if value}
    if len(chosen) != 1:
        raise FunctionLoadError(
            "choose one function: -p name=str:nanodet_detection, -p module=str:my.module or"
            f" -p file=str:mine.py; {' and '.join(chosen) or 'none'} given"
        )
    [(choice, value)] = chosen.items()
    with _errors_of_sdk():
        function = make_function(_CHOICES[choice](value, parameters))
    return as_cvat_sdk(function)


def as_cvat_sdk(function: Any) -> cvataa.AutoAnnotationFunction:
    """Give a function the interface of `cvat_sdk`, for its `annotate_task` and for agents.

    Detections are checked and clipped to the image as in our own runs, and passed on as objects of
    `cvat_sdk.models`.

    Example:
        ```python
        cvat_sdk.auto_annotation.annotate_task(client, 12, as_cvat_sdk(nanodet_detection.create()))
        ```

    Args:
        function: A detection, tracking or interaction function, for our interface or that of the SDK.

    Raises:
        BadFunctionError: It is none of these, or a detection function that needs a video.
    """
    with _errors_of_sdk():
        spec = read_spec(function, "an auto-annotation function")
        for attribute, kind in _KINDS.items():
            if hasattr(spec, attribute):
                adapted: cvataa.AutoAnnotationFunction = kind(function, spec)
                return adapted
    raise cvataa.BadFunctionError(
        f"{type(function).__name__!r} is not a detection, tracking or interaction function: its spec is"
        f" {type(spec).__name__!r} ({place_of(function)})"
    )


class _SdkDetection:
    def __init__(self, function: Any, spec: Any) -> None:
        check_sees_single_images(function)
        self.spec = cvataa.DetectionFunctionSpec(labels=[sdk_label(label) for label in spec.labels])
        self._detectors = {
            conv_mask_to_poly: Detector(function, conv_mask_to_poly=conv_mask_to_poly)
            for conv_mask_to_poly in (False, True)
        }

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        """Find the objects on an image."""
        detector = self._detectors[context.conv_mask_to_poly]
        detector.conf_threshold = context.conf_threshold
        with _errors_of_sdk():
            [found] = detector.detect([(_frame(context.frame_name, image), image)])
        clipped = (part for shape in found.shapes for part in _clipped(shape, *image.size))
        return [*map(sdk_tag, found.tags), *map(sdk_shape, clipped)]


class _SdkTracking:
    def __init__(self, function: Any, spec: Any) -> None:
        self.spec = cvataa.TrackingFunctionSpec(
            supported_shape_types={enum_value(shape_type) for shape_type in spec.supported_shape_types}
        )
        self._function = function

    def preprocess_image(self, context: cvataa.TrackingFunctionContext, image: PIL.Image.Image) -> Any:
        """Prepare an image; agents of cvat-cli 2.80 call this even if a function does not have it."""
        with _errors_of_sdk():
            return preprocess_image(self._function, context, _frame("image", image), image)

    def init_tracking_state(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: Any, shape: cvataa.TrackableShape
    ) -> Any:
        """Begin to track a shape."""
        own = TrackableShape(type=shape.type, points=shape.points)
        with _errors_of_sdk():
            return self._function.init_tracking_state(context, pp_image, own)

    def track(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: Any, state: Any
    ) -> cvataa.TrackableShape | None:
        """Find the shape on the next image."""
        with _errors_of_sdk():
            shape = self._function.track(context, pp_image, state)
        if shape is None:
            return None
        return cvataa.TrackableShape(**_type_and_points(shape))


class _SdkInteraction:
    def __init__(self, function: Any, spec: Any) -> None:
        self.spec = cvataa.InteractionFunctionSpec(
            min_pos_points=spec.min_pos_points,
            min_neg_points=spec.min_neg_points,
            min_bounding_boxes=spec.min_bounding_boxes,
        )
        self._function = function

    def preprocess_image(self, context: cvataa.InteractionFunctionContext, image: PIL.Image.Image) -> Any:
        """Prepare an image; agents keep the result."""
        with _errors_of_sdk():
            return preprocess_image(self._function, context, _frame("image", image), image)

    def detect(
        self, context: cvataa.InteractionFunctionContext, pp_image: Any, prompts: cvataa.InteractionPrompts
    ) -> list[cvataa.InteractionResultShape]:
        """Find the object that the prompts point at."""
        with _errors_of_sdk():
            return [_sdk_result(shape) for shape in self._function.detect(context, pp_image, prompts)]


_KINDS: dict[str, Any] = {
    "labels": _SdkDetection,
    "supported_shape_types": _SdkTracking,
    "min_pos_points": _SdkInteraction,
}
"""The kinds of functions, by what only their specs have."""


def _frame(name: str, image: PIL.Image.Image) -> Frame:
    return UnnumberedFrame(0, name, image.width, image.height)  # the SDK does not pass the number


def _clipped(shape: LabeledShapeRequest, width: int, height: int) -> Iterator[LabeledShapeRequest]:
    """What is in the image of a shape, as in our own runs: one shape, several parts, or nothing."""
    if shape.type is ShapeType.SKELETON:
        elements = []
        for element in shape.elements:
            points, outside = clip_keypoint(element, width, height)
            elements.append(element.model_copy(update={"points": points, "outside": outside}))
        if not all(element.outside for element in elements):
            yield shape.model_copy(update={"elements": elements})
        return
    parts, _ = clip_shape(shape, width, height)
    for points in parts:
        yield shape if points is shape.points else shape.model_copy(update={"points": points})


def _sdk_result(shape: Any) -> cvataa.InteractionResultShape:
    values = [AttributeValRequest.model_validate(attribute) for attribute in shape.attributes]
    attributes = [sdk_models.AttributeValRequest(spec_id=each.spec_id, value=each.value) for each in values]
    return cvataa.InteractionResultShape(**_type_and_points(shape), attributes=attributes)


def _type_and_points(shape: Any) -> dict[str, Any]:
    """Type and points of a result, also of numpy arrays, as plain values: agents send them as JSON."""
    own = LabeledShapeRequest(type=shape.type, label_id=0, frame=0, points=shape.points)
    return {"type": own.type.value, "points": own.points}


@contextmanager
def _errors_of_sdk() -> Iterator[None]:
    """Raise the SDK's `BadFunctionError`: agents pass only its text on to the user."""
    try:
        yield
    except BadFunctionError as error:
        raise cvataa.BadFunctionError(str(error)) from error
