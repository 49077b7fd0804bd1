"""Intersection over union (IoU) of boxes and of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.bounding_box import WITHOUT_AREA, area, bounding_box, common_box
from prefect_cvat.geometry.clip_at_image_edge import is_empty
from prefect_cvat.geometry.coco_format import segmentation_of
from prefect_cvat.geometry.outlines import has_outline

__all__ = ["ComparableShape", "box_iou"]

_SMALLEST_UNION = 1e-9
"""Square pixels. Avoids a division by zero for two boxes without area."""


def box_iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the IoU of each box with each other box, as `torchvision.ops.box_iou` does.

    Args:
        boxes: `[N, 4]`: left, top, right, bottom, in pixels.
        others: `[M, 4]`, likewise.

    Returns:
        `[N, M]`, from 0 to 1; 0 for boxes without area.
    """
    left, top, right, bottom = boxes.T[..., None]
    other_left, other_top, other_right, other_bottom = np.ascontiguousarray(others.T)
    common = np.minimum(right, other_right) - np.maximum(left, other_left)
    common.clip(0, out=common)
    common *= (np.minimum(bottom, other_bottom) - np.maximum(top, other_top)).clip(0)
    union = (right - left) * (bottom - top) - common
    union += (other_right - other_left) * (other_bottom - other_top)
    iou: NDArray[np.float64] = common / np.maximum(union, _SMALLEST_UNION, out=union)
    return iou


class ComparableShape:
    """A shape prepared for computing its IoU with other shapes of the same frame.

    Two shapes whose outlines are known (polygons, masks, ellipses, rotated rectangles) are compared pixel by
    pixel. Of an upright rectangle, a cuboid or a skeleton only the extent is known: if either of the two is
    one of these, their bounding boxes are compared. (The box around a person has a low IoU with the mask of
    that person, but a high one with the bounding box of the mask.)

    Args:
        shape: The shape, as the server's JSON object. Elements of a skeleton that are outside are ignored.
        frame: Its frame.

    Raises:
        InvalidResponseError: The shape cannot be read.
    """

    __slots__ = ("_box", "_frame", "_run_lengths", "_shape")

    def __init__(self, shape: Mapping[str, Any], frame: Frame) -> None:
        self._shape = shape
        self._frame = frame
        self._run_lengths: Any = None
        self._box = (0.0, 0.0, 0.0, 0.0)
        kind = shape["type"]
        if kind in WITHOUT_AREA or (kind == "skeleton" and not shape.get("elements")):
            return
        if kind == "mask" and is_empty(kind, shape["points"]):  # its box has one pixel
            return
        try:
            self._box = bounding_box(shape)
        except (ValueError, IndexError) as error:
            raise self._unreadable(error) from None

    def iou(self, other: ComparableShape) -> float:
        """The IoU, from 0 to 1. It is 0 for shapes without area, such as points and polylines.

        Raises:
            InvalidResponseError: A shape cannot be read.
        """
        common = area(common_box(self._box, other._box))
        if not common:
            return 0.0
        if has_outline(self._shape) and has_outline(other._shape):
            from faster_coco_eval import mask  # imports OpenCV where there is one

            return float(mask.iou([self._encoded()], [other._encoded()], [0])[0, 0])
        return common / (area(self._box) + area(other._box) - common)

    def _encoded(self) -> Any:
        """COCO's compressed run lengths of the shape."""
        if self._run_lengths is None:
            from faster_coco_eval import mask

            try:
                segmentation = segmentation_of(self._shape, self._frame)
            except (ValueError, IndexError) as error:
                raise self._unreadable(error) from None
            is_encoded = isinstance(segmentation, dict)
            self._run_lengths = (
                segmentation
                if is_encoded
                else mask.frPyObjects(segmentation, self._frame.height, self._frame.width)[0]
            )
        return self._run_lengths

    def _unreadable(self, error: Exception) -> InvalidResponseError:
        name = f"{self._shape['type']} {self._shape.get('id', '')}"
        return InvalidResponseError(f"the {name} on {self._frame} cannot be read: {error}")
