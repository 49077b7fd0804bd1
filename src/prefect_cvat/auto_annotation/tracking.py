"""Tracking functions: their spec, contexts, shapes and methods, as in `cvat_sdk` 2.80."""

from __future__ import annotations

import abc
from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol, TypeVar

import PIL.Image

from prefect_cvat import models
from prefect_cvat.auto_annotation.detection import AutoAnnotationFunction

__all__ = [
    "TrackableShape",
    "TrackingFunction",
    "TrackingFunctionContext",
    "TrackingFunctionShapeContext",
    "TrackingFunctionSpec",
]

PreprocessedImage = TypeVar("PreprocessedImage")
TrackingState = TypeVar("TrackingState")


@dataclass(frozen=True, kw_only=True)
class TrackingFunctionSpec:
    """The types of shapes that a tracking function can track.

    Raises:
        ValueError: A type is not one of `models.ShapeType`.
    """

    supported_shape_types: Set[str]

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "supported_shape_types",
            frozenset(models.ShapeType(shape_type).value for shape_type in self.supported_shape_types),
        )


class TrackingFunctionContext(abc.ABC):  # noqa: B024 (an empty base, as in the SDK)
    """The settings of the run, for a tracking function: none yet."""


class TrackingFunctionShapeContext(TrackingFunctionContext):
    """The tracked shape, for a tracking function."""

    @property
    @abc.abstractmethod
    def original_shape_type(self) -> str:
        """The type of the shape."""


@dataclass(frozen=True, kw_only=True)
class TrackableShape:
    """A shape that is tracked; fields as in `LabeledShapeRequest`."""

    type: str
    points: list[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", list(self.points))


class TrackingFunction(AutoAnnotationFunction, Protocol[PreprocessedImage, TrackingState]):
    """A function that tracks shapes from image to image.

    `preprocess_image` is optional; without it, the other methods get the image itself.
    """

    @property
    def spec(self) -> TrackingFunctionSpec:
        """The types of shapes that the function can track."""
        ...

    def preprocess_image(self, context: TrackingFunctionContext, image: PIL.Image.Image) -> PreprocessedImage:
        """Do the part that does not depend on shapes; the result is used for all shapes of the image."""
        ...

    def init_tracking_state(
        self,
        context: TrackingFunctionShapeContext,
        pp_image: PreprocessedImage,
        shape: TrackableShape,
    ) -> TrackingState:
        """Begin to track a shape on its first image. `pp_image` must not be changed."""
        ...

    def track(
        self,
        context: TrackingFunctionShapeContext,
        pp_image: PreprocessedImage,
        state: TrackingState,
    ) -> TrackableShape | None:
        """Find the shape on the next image, of the same size; None if it is not there.

        The returned shape has the type of the first one. `state` may be changed,
        `pp_image` must not be.
        """
        ...
