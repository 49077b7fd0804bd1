"""Exemplars: shapes on an image that show SAM 3 what to look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.auto_annotation import DetectionFunctionContext, ExistingShape
from prefect_cvat.geometry.bounding_box import BoundingBox, area, common_box
from prefect_cvat.geometry.iou import box_iou

__all__ = ["Exemplar", "Exemplars", "exemplars_of", "repeats_exemplar"]

_SAME_OBJECT = 0.5
"""The least IoU of the box of an exemplar and the box that the model finds of it."""


@dataclass(frozen=True)
class Exemplar:
    """An object on the image that shows what to look for, or what not.

    Attributes:
        box: Its box within the image, as fractions of width and height: left, top, right, bottom.
        is_positive: Whether it was drawn; or else a machine has found it and somebody has deleted it.
    """

    box: BoundingBox
    is_positive: bool = True


Exemplars: TypeAlias = Mapping[int, Sequence[Exemplar]]
"""The exemplars on an image, by label."""


def exemplars_of(context: DetectionFunctionContext, size: tuple[int, int]) -> Exemplars:
    """The shapes that people have drawn or corrected on an image, and those of machines that they deleted.

    Shapes without an area in the image, such as points, are no exemplars.

    Args:
        context: About the image; one of `cvat_sdk` has no shapes.
        size: Width and height of the image in pixels.
    """
    width, height = size
    shapes: Sequence[ExistingShape] = getattr(context, "existing_shapes", ())
    found: dict[int, list[Exemplar]] = {}
    for shape in shapes:
        if shape.source == "auto" and not shape.is_deleted:
            continue
        left, top, right, bottom = common_box(shape.box, (0.0, 0.0, width, height))
        if area((left, top, right, bottom)) > 0:
            box = (left / width, top / height, right / width, bottom / height)
            found.setdefault(shape.label_id, []).append(Exemplar(box, is_positive=not shape.is_deleted))
    return found


def repeats_exemplar(boxes: NDArray[np.float32], exemplars: Sequence[Exemplar]) -> NDArray[np.bool_]:
    """Whether boxes are those of exemplars, so that their objects are annotated already, or unwanted.

    Args:
        boxes: `[N, 4]`, as fractions of width and height.
        exemplars: The exemplars of the label.

    Returns:
        `[N]`.
    """
    if not exemplars:
        return np.zeros(len(boxes), dtype=np.bool_)
    others = np.array([exemplar.box for exemplar in exemplars], dtype=np.float64)
    ious = box_iou(boxes.astype(np.float64), others)
    return np.asarray(ious.max(axis=1) >= _SAME_OBJECT)
