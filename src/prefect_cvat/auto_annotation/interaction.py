"""Interaction functions: their spec, prompts, results and methods, as in `cvat_sdk` 2.80."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol, TypeVar

import PIL.Image

from prefect_cvat import models
from prefect_cvat.auto_annotation.exceptions import BadFunctionError

__all__ = [
    "InteractionFunction",
    "InteractionFunctionContext",
    "InteractionFunctionSpec",
    "InteractionPrompts",
    "InteractionResultAttributes",
    "InteractionResultShape",
]

PreprocessedImage = TypeVar("PreprocessedImage")


class InteractionFunctionContext(abc.ABC):  # noqa: B024 (an empty base, as in the SDK)
    """The settings of the run, for an interaction function: none yet."""


class InteractionPrompts(abc.ABC):
    """The prompts of a user; coordinates in pixels."""

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
    """The prompts that an interaction function takes.

    Attributes:
        min_pos_points: Minimum number of positive points.
        min_neg_points: Minimum number of negative points; None if it takes none.
        min_bounding_boxes: 1 if it needs a box, 0 if it takes one; None if it takes none.

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
    """The attributes of an `InteractionResultShape`, by their `spec_id`."""

    CONFIDENCE = 0
    """Confidence of the function, 0 to 1."""


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


class InteractionFunction(Protocol[PreprocessedImage]):
    """A function that finds the object that prompts point at.

    `preprocess_image` is optional; without it, `detect` gets the image itself.
    """

    @property
    def spec(self) -> InteractionFunctionSpec:
        """The prompts that the function takes."""
        ...

    def preprocess_image(
        self, context: InteractionFunctionContext, image: PIL.Image.Image
    ) -> PreprocessedImage:
        """Do the part that does not depend on prompts; the result may be used by many calls of `detect`."""
        ...

    def detect(
        self,
        context: InteractionFunctionContext,
        pp_image: PreprocessedImage,
        prompts: InteractionPrompts,
    ) -> list[InteractionResultShape]:
        """Find the object that the prompts point at. `pp_image` must not be changed."""
        ...
