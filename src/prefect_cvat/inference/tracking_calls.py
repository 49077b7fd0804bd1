"""Calls a tracking function with one shape, and checks what it returns."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import PIL.Image
from pydantic import ValidationError

from prefect_cvat.auto_annotation.function_calls import call_function
from prefect_cvat.auto_annotation.interface import (
    TrackableShape,
    TrackingFunction,
    TrackingFunctionContext,
    TrackingFunctionShapeContext,
)
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import Clipping, clip_shape
from prefect_cvat.inference.coordinate_checks import check_geometry
from prefect_cvat.inference.image_calls import call_on_images
from prefect_cvat.models import LabeledShapeRequest, ShapeType, enum_value

__all__ = [
    "ShapeContext",
    "ShapeToTrack",
    "TrackedShape",
    "TrackingContext",
    "begin_tracking",
    "track_shape",
]


class TrackingContext(TrackingFunctionContext):
    """The run, for the function."""

    __slots__ = ()


class ShapeContext(TrackingFunctionShapeContext):
    """A shape, for the function."""

    __slots__ = ("_original_shape_type",)

    def __init__(self, original_shape_type: str) -> None:
        self._original_shape_type = original_shape_type

    @property
    def original_shape_type(self) -> str:
        """The type of the source shape."""
        return self._original_shape_type


@dataclass(frozen=True, slots=True)
class ShapeToTrack:
    """A shape to track, beginning with its frame.

    Attributes:
        key: Identifies the object; it replaces a tracked shape with the same key.
        type: One of `ShapeType`.
        points: As in `LabeledShapeRequest`.
        rotation: Degrees. The interface has no rotation: the function gets the unrotated shape, and its
            result gets the same rotation. A rotated shape is not clipped at the edge of the image.
    """

    key: Hashable
    type: str
    points: Sequence[float]
    rotation: float = 0.0


@dataclass(slots=True)
class TrackedShape:
    """A shape that is tracked, with the state of the function.

    Attributes:
        source: The shape on its first image.
        context: Its context, for the function.
        state: What the function needs to find it on the next image.
    """

    source: ShapeToTrack
    context: ShapeContext
    state: Any


def begin_tracking(
    function: TrackingFunction[Any, Any],
    frame: Frame,
    image: PIL.Image.Image,
    preprocessed: Any,
    source: ShapeToTrack,
) -> TrackedShape:
    """Begin to track a shape.

    Args:
        function: The function.
        frame: The first frame of the shape.
        image: Its image.
        preprocessed: What `preprocess_image` has made of it.
        source: The shape.

    Raises:
        BadFunctionError: The function failed.
        MediaError: The image is broken.
    """
    context = ShapeContext(enum_value(source.type))
    shape = TrackableShape(type=context.original_shape_type, points=list(source.points))
    what = f"{frame}: init_tracking_state of {_describe(source)}"
    state = call_on_images(
        lambda: function.init_tracking_state(context, preprocessed, shape),
        function.init_tracking_state,
        what,
        f"{what} failed",
        [(frame, image)],
    )
    return TrackedShape(source, context, state)


def track_shape(
    function: TrackingFunction[Any, Any],
    frame: Frame,
    image: PIL.Image.Image,
    preprocessed: Any,
    tracked: TrackedShape,
) -> tuple[TrackableShape | None, Clipping | None]:
    """Find a tracked shape on the next image.

    Args:
        function: The function.
        frame: The next frame.
        image: Its image, of the same size as the one before.
        preprocessed: What `preprocess_image` has made of it.
        tracked: The shape; its state is changed.

    Returns:
        The shape, clipped at the edge of the image, and how; None if it is not there, empty or outside.

    Raises:
        BadFunctionError: The function failed, or its output is invalid.
        MediaError: The image is broken.
    """
    what = f"{frame}: track of {_describe(tracked.source)}"
    output = call_on_images(
        lambda: function.track(tracked.context, preprocessed, tracked.state),
        function.track,
        what,
        f"{what} failed",
        [(frame, image)],
    )
    if output is None:
        return None, None
    return call_function(  # reading the output runs code of the function, too
        lambda: _inside(output, tracked.source, image.size),
        function.track,
        f"{frame}: {_describe(tracked.source)}",
        f"{what} returned an invalid object",
    )


def _describe(source: ShapeToTrack) -> str:
    return f"{enum_value(source.type)} {source.key!r}"


def _inside(
    output: Any, source: ShapeToTrack, size: tuple[int, int]
) -> tuple[TrackableShape | None, Clipping | None]:
    """The output of the function, clipped to the image; None if it is outside."""
    if not (hasattr(output, "type") and hasattr(output, "points")):
        raise BadFunctionError(
            f"function output an object of type {type(output).__name__!r} (expected 'TrackableShape' or None)"
        )
    shape_type, expected = enum_value(output.type), enum_value(source.type)
    if shape_type != expected:
        raise BadFunctionError(f"function output shape of type {shape_type!r} (expected {expected!r})")
    try:
        shape = LabeledShapeRequest(
            type=ShapeType(expected), label_id=0, frame=0, points=output.points, rotation=source.rotation
        )
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadFunctionError(f"function output shape with bad {where}: {problem['msg']}") from error
    parts, clipping = clip_shape(check_geometry(shape), *size)
    return (TrackableShape(type=expected, points=parts[0]) if parts else None), clipping
