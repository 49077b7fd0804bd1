"""Running a tracking function on the frames of a task, one after the other."""

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
from prefect_cvat.geometry.clipping import Clipping, clip_shape
from prefect_cvat.inference.geometry_checks import check_geometry
from prefect_cvat.inference.image_calls import call_on_images, preprocess_image
from prefect_cvat.models import LabeledShapeRequest, ShapeType, enum_value

__all__ = ["Seed", "ShapeContext", "ShapeTracker", "TrackingContext"]


class TrackingContext(TrackingFunctionContext):
    """What the function is told about the run."""

    __slots__ = ()


class ShapeContext(TrackingFunctionShapeContext):
    """What the function is told about a shape."""

    __slots__ = ("_original_shape_type",)

    def __init__(self, original_shape_type: str) -> None:
        self._original_shape_type = original_shape_type

    @property
    def original_shape_type(self) -> str:
        """The type of the shape that was taken up."""
        return self._original_shape_type


@dataclass(frozen=True, slots=True)
class Seed:
    """A shape to follow from a frame on.

    Attributes:
        key: Whose shape it is; a seed with the key of a shape that is being followed takes its place.
        type: One of `ShapeType`.
        points: As in `LabeledShapeRequest`.
        rotation: Degrees. The interface has no place for it: a function sees the shape as if it were not
            turned, and what comes back is meant to be turned alike. A turned shape is not cut at the edge.
    """

    key: Hashable
    type: str
    points: Sequence[float]
    rotation: float = 0.0


@dataclass(slots=True)
class _Followed:
    seed: Seed
    context: ShapeContext
    state: Any


class ShapeTracker:
    """A tracking function with the shapes that it follows.

    The frames are given in the order in which shapes are to be followed: ascending or descending, with
    or without gaps.

    Args:
        function: The function; one for the SDK's interface will do as well.

    Attributes:
        clippings: What became of the shapes that the function returned, at the edges of their images.

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
        self._followed: dict[Hashable, _Followed] = {}
        self._size: tuple[int, int] | None = None

    @property
    def active(self) -> list[Hashable]:
        """The keys of the shapes that are being followed, in the order in which they were taken up."""
        return list(self._followed)

    def check_types(self, types: Iterable[str]) -> None:
        """Check that the function can follow shapes of these types, before any frame is fetched.

        Raises:
            BadFunctionError: It cannot; the message names the types.
        """
        wanted = {enum_value(shape_type) for shape_type in types}
        if unsupported := sorted(wanted - self.supported_shape_types):
            raise BadFunctionError(
                f"{type(self.function).__name__!r} cannot follow shapes of type {', '.join(unsupported)};"
                f" it can follow {', '.join(sorted(self.supported_shape_types)) or 'none'}"
            )

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Follow these shapes no further. Keys of shapes that are lost already do no harm."""
        for key in keys:
            self._followed.pop(key, None)

    def advance(
        self, frame: Frame, image: PIL.Image.Image, seeds: Sequence[Seed] = ()
    ) -> list[tuple[Hashable, TrackableShape]]:
        """Find the shapes that are being followed on the next frame, and take up new ones there.

        A shape that has a seed on this frame is not looked for: the seed says where it is. What is found
        nowhere, or only outside of the image, or is empty, is lost, and followed no further. Of what the edge
        cuts into several parts the largest is followed. The image is not decoded
        when there is nothing to do.

        Args:
            frame: Which frame it is, for messages.
            image: Its image.
            seeds: The shapes to follow from here on, of different keys.

        Returns:
            Key and shape of all that was found, the seeds not among them; `active` tells afterwards what
            is still followed.

        Raises:
            BadFunctionError: The function failed, or returned what it must not; or a seed is of a type
                that it does not support.
            UnsupportedTaskError: The image has another size than the one before it, and there are shapes
                to find on it. They are lost: called again, this goes on with the seeds alone.
            MediaError: The image is broken.
        """
        self.check_types(seed.type for seed in seeds)
        if len({seed.key for seed in seeds}) < len(seeds):
            raise ValueError(f"{frame}: there are several seeds with the same key")
        self.drop(seed.key for seed in seeds)
        self._check_size(frame, image)
        if not self._followed and not seeds:
            return []
        preprocessed = preprocess_image(self.function, self._context, frame, image)
        found = []
        for key, followed in list(self._followed.items()):
            shape = self._track(frame, image, preprocessed, followed)
            if shape is None:
                del self._followed[key]
            else:
                found.append((key, shape))
        for seed in seeds:
            self._take_up(frame, image, preprocessed, seed)
        return found

    def _check_size(self, frame: Frame, image: PIL.Image.Image) -> None:
        size, self._size = self._size, image.size
        if self._followed and size != image.size:
            self._followed.clear()
            assert size is not None
            raise UnsupportedTaskError(
                f"{frame} is {image.width}x{image.height} pixels, but the frame before it"
                f" {size[0]}x{size[1]}: shapes can only be followed over frames of one size"
            )

    def _take_up(self, frame: Frame, image: PIL.Image.Image, preprocessed: Any, seed: Seed) -> None:
        context = ShapeContext(enum_value(seed.type))
        shape = TrackableShape(type=context.original_shape_type, points=list(seed.points))
        what = f"{frame}: init_tracking_state of {_describe(seed)}"
        state = call_on_images(
            lambda: self.function.init_tracking_state(context, preprocessed, shape),
            self.function.init_tracking_state,
            what,
            f"{what} failed",
            [(frame, image)],
        )
        self._followed[seed.key] = _Followed(seed, context, state)

    def _track(
        self, frame: Frame, image: PIL.Image.Image, preprocessed: Any, followed: _Followed
    ) -> TrackableShape | None:
        what = f"{frame}: track of {_describe(followed.seed)}"
        output = call_on_images(
            lambda: self.function.track(followed.context, preprocessed, followed.state),
            self.function.track,
            what,
            f"{what} failed",
            [(frame, image)],
        )
        if output is None:
            return None
        shape, clipping = call_function(  # what it has returned is the function's code, too
            lambda: _inside(output, followed.seed, image.size),
            self.function.track,
            f"{frame}: {_describe(followed.seed)}",
            f"{what} returned what cannot be read",
        )
        if clipping is not None:
            self.clippings[clipping] += 1
        return shape


def _describe(seed: Seed) -> str:
    return f"{enum_value(seed.type)} {seed.key!r}"


def _inside(output: Any, seed: Seed, size: tuple[int, int]) -> tuple[TrackableShape | None, Clipping | None]:
    """What the function returned as a shape of ours within the image; None if nothing of it is inside."""
    if not (hasattr(output, "type") and hasattr(output, "points")):
        raise BadFunctionError(
            f"function output an object of type {type(output).__name__!r} (expected 'TrackableShape' or None)"
        )
    shape_type, expected = enum_value(output.type), enum_value(seed.type)
    if shape_type != expected:
        raise BadFunctionError(f"function output shape of type {shape_type!r} (expected {expected!r})")
    try:
        shape = LabeledShapeRequest(
            type=ShapeType(expected), label_id=0, frame=0, points=output.points, rotation=seed.rotation
        )
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadFunctionError(f"function output shape with bad {where}: {problem['msg']}") from error
    parts, clipping = clip_shape(check_geometry(shape), *size)
    return (TrackableShape(type=expected, points=parts[0]) if parts else None), clipping
