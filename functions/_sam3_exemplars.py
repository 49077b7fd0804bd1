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
"""The least IoU of two boxes of the same object, such as of an exemplar and of what the model finds of it."""

_OF_PEOPLE = ("manual", "semi-auto")
"""The sources of shapes that people have drawn or corrected."""


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

    Imported shapes, of the source `file`, may be predictions, and are no exemplars. Nor are shapes without an
    area in the image, such as points, and deleted duplicates of a shape of their label that is still there.

    Args:
        context: About the image; one of `cvat_sdk` has no shapes.
        size: Width and height of the image in pixels.
    """
    width, height = size
    there: dict[int, list[BoundingBox]] = {}
    exemplars: dict[int, list[Exemplar]] = {}
    shapes: Sequence[ExistingShape] = getattr(context, "existing_shapes", ())
    for shape in sorted(shapes, key=lambda each: each.is_deleted):
        left, top, right, bottom = common_box(shape.box, (0.0, 0.0, width, height))
        if area((left, top, right, bottom)) <= 0:
            continue
        box = (left / width, top / height, right / width, bottom / height)
        if shape.is_deleted:
            if _is_same(np.array([box]), there.get(shape.label_id, ()))[0]:
                continue
        else:
            there.setdefault(shape.label_id, []).append(box)
            if shape.source not in _OF_PEOPLE:
                continue
        exemplars.setdefault(shape.label_id, []).append(Exemplar(box, is_positive=not shape.is_deleted))
    return exemplars


def repeats_exemplar(boxes: NDArray[np.float32], exemplars: Sequence[Exemplar]) -> NDArray[np.bool_]:
    """Whether boxes are those of exemplars, so that their objects are annotated already, or unwanted.

    Args:
        boxes: `[N, 4]`, as fractions of width and height.
        exemplars: The exemplars of the label.

    Returns:
        `[N]`.
    """
    return _is_same(boxes.astype(np.float64), [exemplar.box for exemplar in exemplars])


def _is_same(boxes: NDArray[np.float64], others: Sequence[BoundingBox]) -> NDArray[np.bool_]:
    """Whether boxes, `[N, 4]`, are those of the objects of some others: `[N]`."""
    if not others:
        return np.zeros(len(boxes), dtype=np.bool_)
    ious = box_iou(boxes, np.array(others, dtype=np.float64))
    return np.asarray(ious.max(axis=1) >= _SAME_OBJECT)
