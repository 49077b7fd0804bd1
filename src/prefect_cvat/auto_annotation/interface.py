"""What an auto-annotation function is: its spec, its contexts and its methods.

The interface is that of `cvat_sdk.auto_annotation` (2.80): a function written for one runs with the
other. A function here may offer more, see `BatchedDetectionFunction`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import PIL.Image

from prefect_cvat import models
from prefect_cvat.attributes import attribute_value_validator
from prefect_cvat.auto_annotation.exceptions import BadFunctionError

__all__ = [
    "AutoAnnotationFunction",
    "BatchedDetectionFunction",
    "DetectionAnnotation",
    "DetectionFunction",
    "DetectionFunctionContext",
    "DetectionFunctionSpec",
    "InteractionFunction",
    "InteractionFunctionContext",
    "InteractionFunctionSpec",
    "InteractionPrompts",
    "InteractionResultAttributes",
    "InteractionResultShape",
    "TrackableShape",
    "TrackingFunction",
    "TrackingFunctionContext",
    "TrackingFunctionShapeContext",
    "TrackingFunctionSpec",
]


class AutoAnnotationFunction(Protocol):
    """What all kinds of functions have in common."""

    @property
    def spec(self) -> object:
        """What the function can do; each kind of function has a spec type of its own."""
        ...


# --- detection -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DetectionFunctionSpec:
    """What a detection function can find.

    Attributes:
        labels: The labels, best made by `label_spec`, `skeleton_label_spec` and `keypoint_spec`.
            Every label has an id of its own; so has, within its label, every sublabel, and, within
            its label or sublabel, every attribute. Only labels of type `skeleton` have sublabels,
            and those are of type `points`.

    Raises:
        BadFunctionError: One of these rules is broken; the message names the label.
    """

    labels: Sequence[models.PatchedLabelRequest]

    def __post_init__(self) -> None:
        if isinstance(self.labels, str) or not isinstance(self.labels, Iterable):
            raise BadFunctionError(
                f"labels are of type {type(self.labels).__name__!r} (expected a sequence of labels)"
            )
        if not isinstance(self.labels, Sequence):
            object.__setattr__(self, "labels", tuple(self.labels))
        for label in self.labels:
            if not hasattr(label, "name"):
                raise BadFunctionError(
                    f"a label is of type {type(label).__name__!r}; make labels with label_spec"
                )
        label_ids: set[int] = set()
        for label in self.labels:
            name = f"label {label.name!r}"
            _check_id(label, "label", name, label_ids)
            _check_attributes(label, name)
            sublabels = getattr(label, "sublabels", None) or []
            label_type = models.enum_value(getattr(label, "type", None) or "any")
            if sublabels and label_type != "skeleton":
                raise BadFunctionError(
                    f"{name} with sublabels has type {label_type!r} (should be 'skeleton')"
                )
            sublabel_ids: set[int] = set()
            for sublabel in sublabels:
                sublabel_name = f"sublabel {sublabel.name!r} of {name}"
                _check_id(sublabel, "sublabel", sublabel_name, sublabel_ids)
                sublabel_type = models.enum_value(getattr(sublabel, "type", None))
                if sublabel_type != "points":
                    raise BadFunctionError(f"{sublabel_name} has type {sublabel_type!r} (should be 'points')")
                _check_attributes(sublabel, sublabel_name)


def _check_id(item: Any, kind: str, name: str, seen: set[int]) -> None:
    """Check that what has this name has an id that none of its kind has been seen with."""
    item_id = getattr(item, "id", None)
    if item_id is None:
        raise BadFunctionError(f"{name} has no ID")
    if item_id in seen:
        raise BadFunctionError(f"{name} has same ID as another {kind} ({item_id})")
    seen.add(item_id)


def _check_attributes(owner: Any, owner_name: str) -> None:
    seen: set[int] = set()
    for attribute in getattr(owner, "attributes", None) or []:
        name = f"attribute {attribute.name!r} of {owner_name}"
        _check_id(attribute, "attribute", name, seen)
        try:
            attribute_value_validator(attribute)
        except ValueError as error:
            raise BadFunctionError(f"{name} has invalid values: {error}") from error


class DetectionFunctionContext(abc.ABC):
    """What a detection function is told about the image and the run."""

    @property
    @abc.abstractmethod
    def frame_name(self) -> str:
        """The file name of the frame in the task."""

    @property
    @abc.abstractmethod
    def conf_threshold(self) -> float | None:
        """The least score to return, 0 to 1; None leaves it to the function.

        A function that knows no scores may ignore it.
        """

    @property
    @abc.abstractmethod
    def conv_mask_to_poly(self) -> bool:
        """Whether masks must be returned as polygons. A function without masks may ignore it."""


DetectionAnnotation: TypeAlias = models.LabeledImageRequest | models.LabeledShapeRequest


class DetectionFunction(AutoAnnotationFunction, Protocol):
    """A function that finds objects on one image at a time.

    It speaks of its own labels, those of its `spec`, and knows nothing of the task's: they are
    matched by name (or by the user's label map) before the first image is looked at.
    """

    @property
    def spec(self) -> DetectionFunctionSpec:
        """What the function can find."""
        ...

    def detect(
        self, context: DetectionFunctionContext, image: PIL.Image.Image
    ) -> Sequence[DetectionAnnotation]:
        """Find the objects on an image.

        Args:
            context: About the image and the run.
            image: The frame, upright, in the mode in which it was stored.

        Returns:
            Tags and shapes, best made by `tag`, `rectangle`, `polygon`, ...: coordinates in pixels
            of `image`, `frame` 0, `label_id` and attribute `spec_id` from the spec, neither `id`
            nor `source`, and `score` where it is known.
        """
        ...


class BatchedDetectionFunction(DetectionFunction, Protocol):
    """A detection function that can take several images at once; all of it is optional.

    `detect_batch` is used instead of `detect` where it is there. `version` says which results are
    alike: it is part of the key of stored detections. `score_threshold` is the least score of what is
    returned when `context.conf_threshold` is None: with it, labels may be given lower thresholds of their
    own. `close` is called at the end of the run if the function was made for that run.
    """

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> Sequence[Sequence[DetectionAnnotation]]:
        """Find the objects on several images; one sequence of annotations for each image, in order."""
        ...


# --- interaction ---------------------------------------------------------------------------------


class InteractionFunctionContext(abc.ABC):  # noqa: B024 (an empty base, as in the SDK)
    """What an interaction function is told about the run: nothing yet."""


class InteractionPrompts(abc.ABC):
    """What the user pointed at; coordinates in pixels."""

    @property
    @abc.abstractmethod
    def pos_points(self) -> Sequence[tuple[float, float]]:
        """Points on the object, as (x, y)."""

    @property
    @abc.abstractmethod
    def neg_points(self) -> Sequence[tuple[float, float]]:
        """Points that are not on the object, as (x, y)."""

    @property
    @abc.abstractmethod
    def bounding_box(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """A box around the object, upper left and lower right corner as (x, y), or None."""


@dataclass(frozen=True, kw_only=True)
class InteractionFunctionSpec:
    """Which prompts an interaction function takes.

    Attributes:
        min_pos_points: How many positive points it needs at least.
        min_neg_points: How many negative points it needs at least; None: it takes none.
        min_bounding_boxes: 1 if it needs a box, 0 if it may have one; None: it takes none.

    Raises:
        ValueError: A number is out of its range.
    """

    min_pos_points: int
    min_neg_points: int | None = None
    min_bounding_boxes: Literal[0, 1] | None = None

    def __post_init__(self) -> None:
        if self.min_pos_points is None or self.min_pos_points < 0:
            raise ValueError(f"min_pos_points must be 0 or more, not {self.min_pos_points!r}")
        if self.min_neg_points is not None and self.min_neg_points < 0:
            raise ValueError(f"min_neg_points must be None, 0 or more, not {self.min_neg_points!r}")
        if self.min_bounding_boxes not in (None, 0, 1):
            raise ValueError(f"min_bounding_boxes must be None, 0 or 1, not {self.min_bounding_boxes!r}")


class InteractionResultAttributes(IntEnum):
    """The attributes that an `InteractionResultShape` may carry, by their `spec_id`."""

    CONFIDENCE = 0
    """How sure the function is, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class InteractionResultShape:
    """A shape that an interaction function found; fields as in `LabeledShapeRequest`.

    Raises:
        BadFunctionError: An attribute's `spec_id` is not one of `InteractionResultAttributes`.
    """

    type: str
    points: list[float]
    attributes: list[models.AttributeValRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", list(self.points))
        object.__setattr__(self, "attributes", list(self.attributes))
        for attribute in self.attributes:
            if attribute.spec_id not in set(InteractionResultAttributes):
                raise BadFunctionError(
                    f"{attribute.spec_id} is not one of InteractionResultAttributes"
                    f" ({', '.join(f'{a.name}={a.value}' for a in InteractionResultAttributes)})"
                )


PreprocessedImage = TypeVar("PreprocessedImage")
TrackingState = TypeVar("TrackingState")


class InteractionFunction(Protocol[PreprocessedImage]):
    """A function that finds the object that a user points at.

    `preprocess_image` is optional; without it, `detect` gets the image itself.
    """

    @property
    def spec(self) -> InteractionFunctionSpec:
        """Which prompts the function takes."""
        ...

    def preprocess_image(
        self, context: InteractionFunctionContext, image: PIL.Image.Image
    ) -> PreprocessedImage:
        """Do what does not depend on the prompts; the result may serve many calls of `detect`."""
        ...

    def detect(
        self,
        context: InteractionFunctionContext,
        pp_image: PreprocessedImage,
        prompts: InteractionPrompts,
    ) -> list[InteractionResultShape]:
        """Find what the prompts point at. `pp_image` must not be changed."""
        ...


# --- tracking ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrackingFunctionSpec:
    """Which shapes a tracking function can follow.

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
    """What a tracking function is told about the run: nothing yet."""


class TrackingFunctionShapeContext(TrackingFunctionContext):
    """What a tracking function is told about the shape that it follows."""

    @property
    @abc.abstractmethod
    def original_shape_type(self) -> str:
        """The type of the shape."""


@dataclass(frozen=True, kw_only=True)
class TrackableShape:
    """A shape that is followed; fields as in `LabeledShapeRequest`."""

    type: str
    points: list[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", list(self.points))


class TrackingFunction(AutoAnnotationFunction, Protocol[PreprocessedImage, TrackingState]):
    """A function that follows shapes from one image to the next ones.

    `preprocess_image` is optional; without it, the other methods get the image itself.
    """

    @property
    def spec(self) -> TrackingFunctionSpec:
        """Which shapes the function can follow."""
        ...

    def preprocess_image(self, context: TrackingFunctionContext, image: PIL.Image.Image) -> PreprocessedImage:
        """Do what does not depend on the shapes; the result serves all shapes of the image."""
        ...

    def init_tracking_state(
        self,
        context: TrackingFunctionShapeContext,
        pp_image: PreprocessedImage,
        shape: TrackableShape,
    ) -> TrackingState:
        """Take up a shape on its first image. `pp_image` must not be changed."""
        ...

    def track(
        self,
        context: TrackingFunctionShapeContext,
        pp_image: PreprocessedImage,
        state: TrackingState,
    ) -> TrackableShape | None:
        """Find the shape again on the next image, of the same size; None if it is not there.

        The shape that is returned has the type of the first one. `state` may be changed,
        `pp_image` must not be.
        """
        ...
