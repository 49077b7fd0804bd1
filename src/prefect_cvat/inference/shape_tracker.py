"""Runs a tracking function frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import PIL.Image

from prefect_cvat.auto_annotation.function_calls import place_of, read_spec
from prefect_cvat.auto_annotation.interface import TrackableShape, TrackingFunction
from prefect_cvat.exceptions import BadFunctionError, UnsupportedTaskError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import Clipping
from prefect_cvat.inference.image_calls import preprocess_image
from prefect_cvat.inference.tracking_calls import (
    ShapeContext,
    ShapeToTrack,
    TrackedShape,
    TrackingContext,
    begin_tracking,
    track_shape,
)
from prefect_cvat.models import enum_value

__all__ = ["ShapeContext", "ShapeToTrack", "ShapeTracker", "TrackingContext"]


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
        self._tracked: dict[Hashable, TrackedShape] = {}
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
            shape, clipping = track_shape(self.function, frame, image, preprocessed, tracked)
            if clipping is not None:
                self.clippings[clipping] += 1
            if shape is None:
                del self._tracked[key]
            else:
                found.append((key, shape))
        for source in sources:
            self._tracked[source.key] = begin_tracking(self.function, frame, image, preprocessed, source)
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
