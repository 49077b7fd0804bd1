"""Runs a tracking function frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import PIL.Image
from pydantic import ValidationError

from prefect_cvat.auto_annotation.function_calls import call_function, place_of, read_spec
from prefect_cvat.auto_annotation.interface import (
    TrackableShape,
    TrackingFunction,
    TrackingFunctionContext,
    TrackingFunctionShapeContext,
)
from prefect_cvat.exceptions import BadFunctionError, UnsupportedTaskError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_to_image import Clipping, clip_shape
from prefect_cvat.inference.geometry_checks import check_geometry
from prefect_cvat.inference.image_calls import call_on_images, preprocess_image
from prefect_cvat.models import LabeledShapeRequest, ShapeType, enum_value

__all__ = ["ShapeContext", "ShapeToTrack", "ShapeTracker", "TrackingContext"]


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
class _Tracked:
    source: ShapeToTrack
    context: ShapeContext
    state: Any


class ShapeTracker:
    """A tracking function with the shapes that it tracks.

    Frames are passed in the order of tracking: ascending or descending, with or without gaps.

    Args:
        function: The function, for this interface or that of the SDK.

    Attributes:
        clippings: Number of clipped, outside and empty shapes.

    Raises:
        BadFunctionError: It is not a tracking function.
    """

    def __init__(self, function: TrackingFunction[Any, Any]) -> None:
        name = type(function).__name__
        spec = read_spec(function, "a tracking function")
        types = getattr(spec, "supported_shape_types", None)
        if types is None or isinstance(types, str) or not isinstance(types, Iterable):
            raise BadFunctionError(
                f"{name!r} is not a tracking function: its spec is {type(spec).__name__!r}"
                f" (expected 'TrackingFunctionSpec') ({place_of(function)})"
            )
        for method in ("init_tracking_state", "track"):
            if not callable(getattr(function, method, None)):
                raise BadFunctionError(
                    f"{name!r} is not a tracking function: it has no {method!r} ({place_of(function)})"
                )
        self.function = function
        self.clippings: Counter[Clipping] = Counter()
        self.supported_shape_types = frozenset(map(enum_value, types))
        self._context = TrackingContext()
        self._tracked: dict[Hashable, _Tracked] = {}
        self._size: tuple[int, int] | None = None

    @property
    def active(self) -> list[Hashable]:
        """The keys of the tracked shapes, in the order of their source shapes."""
        return list(self._tracked)

    def check_types(self, types: Iterable[str]) -> None:
        """Check that the function can track shapes of these types, before any frame is fetched.

        Raises:
            BadFunctionError: It cannot; the message names the types.
        """
        wanted = {enum_value(shape_type) for shape_type in types}
        if unsupported := sorted(wanted - self.supported_shape_types):
            raise BadFunctionError(
                f"{type(self.function).__name__!r} cannot track shapes of type {', '.join(unsupported)};"
                f" it can track {', '.join(sorted(self.supported_shape_types)) or 'none'}"
            )

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Stop tracking these shapes. Keys of lost shapes are ignored."""
        for key in keys:
            self._tracked.pop(key, None)

    def advance(
        self, frame: Frame, image: PIL.Image.Image, sources: Sequence[ShapeToTrack] = ()
    ) -> list[tuple[Hashable, TrackableShape]]:
        """Track all shapes to the next frame, and begin to track new ones there.

        A shape with a source shape on this frame is not tracked to it. A shape that is not found, or that is
        empty or outside of the image, is lost and no longer tracked. Of a shape that the edge of the image
        cuts into several parts, the largest is tracked. The image is not decoded if there are no shapes.

        Args:
            frame: The frame.
            image: Its image.
            sources: The shapes to track from this frame on, with different keys.

        Returns:
            Key and shape of all tracked shapes that were found, without the source shapes.

        Raises:
            BadFunctionError: The function failed, its output is invalid, or it does not support the type
                of a source shape.
            UnsupportedTaskError: The image has another size than the one before, and shapes are tracked.
                They are lost; a second call begins with the source shapes.
            MediaError: The image is broken.
        """
        self.check_types(source.type for source in sources)
        if len({source.key for source in sources}) < len(sources):
            raise ValueError(f"{frame}: there are several source shapes with the same key")
        self.drop(source.key for source in sources)
        self._check_size(frame, image)
        if not self._tracked and not sources:
            return []
        preprocessed = preprocess_image(self.function, self._context, frame, image)
        found = []
        for key, tracked in list(self._tracked.items()):
            shape = self._track(frame, image, preprocessed, tracked)
            if shape is None:
                del self._tracked[key]
            else:
                found.append((key, shape))
        for source in sources:
            self._begin(frame, image, preprocessed, source)
        return found

    def _check_size(self, frame: Frame, image: PIL.Image.Image) -> None:
        size, self._size = self._size, image.size
        if self._tracked and size != image.size:
            self._tracked.clear()
            assert size is not None
            raise UnsupportedTaskError(
                f"{frame} is {image.width}x{image.height} pixels, but the frame before it"
                f" {size[0]}x{size[1]}: shapes can only be tracked over frames of one size"
            )

    def _begin(self, frame: Frame, image: PIL.Image.Image, preprocessed: Any, source: ShapeToTrack) -> None:
        context = ShapeContext(enum_value(source.type))
        shape = TrackableShape(type=context.original_shape_type, points=list(source.points))
        what = f"{frame}: init_tracking_state of {_describe(source)}"
        state = call_on_images(
            lambda: self.function.init_tracking_state(context, preprocessed, shape),
            self.function.init_tracking_state,
            what,
            f"{what} failed",
            [(frame, image)],
        )
        self._tracked[source.key] = _Tracked(source, context, state)

    def _track(
        self, frame: Frame, image: PIL.Image.Image, preprocessed: Any, tracked: _Tracked
    ) -> TrackableShape | None:
        what = f"{frame}: track of {_describe(tracked.source)}"
        output = call_on_images(
            lambda: self.function.track(tracked.context, preprocessed, tracked.state),
            self.function.track,
            what,
            f"{what} failed",
            [(frame, image)],
        )
        if output is None:
            return None
        shape, clipping = call_function(  # reading the output runs code of the function, too
            lambda: _inside(output, tracked.source, image.size),
            self.function.track,
            f"{frame}: {_describe(tracked.source)}",
            f"{what} returned an invalid object",
        )
        if clipping is not None:
            self.clippings[clipping] += 1
        return shape


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
