"""Any detection function on overlapping tiles: for small objects in large images.

A detector shrinks a large image to its input size, and what is small on it vanishes. Here the
function looks at tiles, in which small objects stay as large as they are, and at the whole image,
for the objects that no tile can hold.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunction,
    DetectionFunctionContext,
    DetectionFunctionSpec,
)
from prefect_cvat.auto_annotation.function_calls import close_function
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask, wait_for_labels
from prefect_cvat.auto_annotation.functions._nested_function import check_can_be_nested, detect_on
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.geometry.iou import box_iou
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.models import LabeledShapeRequest, ShapeType, SubLabeledShapeRequest

__all__ = ["TiledFunction", "create"]

_AT_THE_EDGE = 2.0
"""A shape that ends this close to the edge of its tile, in pixels, may go on beyond it."""

_MOSTLY = 0.8
"""A cut shape of which this part is covered by a whole one of its label is a piece of that one."""

Box = tuple[float, float, float, float]


@overload
def create(
    function: DetectionFunction, *, tile: int = 640, overlap: float = 0.2, iou: float = 0.5
) -> TiledFunction: ...


@overload
def create(function: str, **options: Any) -> Any: ...


def create(
    function: DetectionFunction | str,
    *,
    tile: int = 640,
    overlap: float = 0.2,
    iou: float = 0.5,
    **function_options: Any,
) -> TiledFunction | FunctionForTask:
    """Make a detection function that runs another one on tiles and on the whole image.

    What is found twice is kept once. Of two shapes of one label whose boxes overlap by more than
    `iou`, the one stays that no tile cuts, or else the one with the better score; a piece of an
    object that is also there whole goes too. Where the function has `iou_across_labels` below 1, as
    `open_vocabulary_detection`, the same is done by it for shapes of different labels. Tags are those of the
    whole image.

    Example:
        `create("nanodet_detection", tile=416, score_threshold=0.3)`

    Args:
        function: A detection function, or the name of one, such as `nanodet_detection`. One that is made for
            the labels of a task stays so.
        tile: Width and height of the tiles, in pixels. An image that is not larger is not divided.
        overlap: How much of a tile is part of the next one, at least, 0 to 0.9. Objects of this
            size are whole on some tile.
        iou: The greatest overlap of two objects of one label, as intersection over union of their
            boxes, 0 to 1.
        **function_options: For making the function, if `function` is a name.

    Raises:
        TypeError: `function_options` where `function` is not a name.
        ValueError: A number is out of its range.
        FunctionLoadError: There is no function of this name, or it cannot be made.
        BadFunctionError: The function sees the shapes that are on an image, or follows objects of a video.
    """
    if tile < 1:
        raise ValueError(f"tile must be 1 or more, not {tile}")
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"overlap must be between 0 and 0.9, not {overlap}")
    if not 0 <= iou <= 1:
        raise ValueError(f"iou must be between 0 and 1, not {iou}")
    on_tiles: DetectionFunction | FunctionForTask
    if isinstance(function, str):
        on_tiles = load_function(function, function_options)
    elif function_options:
        raise TypeError(f"only a function by name takes the options {', '.join(sorted(function_options))}")
    else:
        on_tiles = wait_for_labels(function)
    on_tiles_and_whole = functools.partial(TiledFunction, tile=tile, overlap=overlap, iou=iou)
    if isinstance(on_tiles, FunctionForTask):
        return on_tiles.wrapped(on_tiles_and_whole)
    return on_tiles_and_whole(on_tiles)


class TiledFunction:
    """Runs a detection function on tiles; see `create`.

    Raises:
        BadFunctionError: The function needs the whole image.
    """

    def __init__(self, function: DetectionFunction, *, tile: int, overlap: float, iou: float) -> None:
        check_can_be_nested(function)
        self.function = function
        self.tile = tile
        self.overlap = overlap
        self.iou = iou

    @property
    def spec(self) -> DetectionFunctionSpec:
        """The spec of the function that looks at the tiles."""
        return self.function.spec

    @property
    def device(self) -> str | None:
        """The device of the wrapped function, if it has one."""
        return getattr(self.function, "device", None)

    @property
    def nested_functions(self) -> Sequence[DetectionFunction]:
        """The function that it runs."""
        return [self.function]

    @property
    def score_threshold(self) -> float | None:
        """The `score_threshold` of the wrapped function, if it has one."""
        return getattr(self.function, "score_threshold", None)

    @property
    def version(self) -> str:
        """A digest of that function's version and of the settings.

        Raises:
            AttributeError: That function has no version.
        """
        settings = (self.function.version, self.tile, self.overlap, self.iou)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def close(self) -> None:
        """Close that function, if it can be closed."""
        close_function(self.function)

    def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> list[DetectionAnnotation]:
        """Find the objects on an image.

        Raises:
            BadFunctionError: The function returned something that it must not.
        """
        places = [(0, 0, image.width, image.height), *self._tiles(image)]
        outputs = detect_on(self.function, [context] * len(places), [image.crop(place) for place in places])
        checker = OutputChecker(self.spec.labels, conv_mask_to_poly=context.conv_mask_to_poly)
        detections = [checker.check(0, output) for output in outputs]
        found = [
            _TileDetection.on_tile(shape, place, (image.width, image.height))
            for place, on_tile in zip(places, detections, strict=True)
            for shape in on_tile.shapes
        ]
        return [*detections[0].tags, *self._merged(found)]

    def _tiles(self, image: PIL.Image.Image) -> Iterator[tuple[int, int, int, int]]:
        if max(image.size) <= self.tile:
            return
        for y, x in itertools.product(self._starts(image.height), self._starts(image.width)):
            yield x, y, min(x + self.tile, image.width), min(y + self.tile, image.height)

    def _starts(self, size: int) -> list[int]:
        """The starts of tiles along a side, in pixels: the minimum number, evenly spaced."""
        room = size - self.tile
        if room <= 0:
            return [0]
        steps = -int(-room // max(self.tile * (1 - self.overlap), 1))
        return [round(step * room / steps) for step in range(steps + 1)]

    def _merged(self, found: Sequence[_TileDetection]) -> list[LabeledShapeRequest]:
        if not found:
            return []
        boxes = np.array([each.box for each in found], dtype=np.float64)
        labels = np.array([each.shape.label_id for each in found])
        cut = np.array([each.is_cut for each in found])
        scores = np.array([1.0 if each.shape.score is None else each.shape.score for each in found])
        # Scores are at most 1, so whatever is whole comes before whatever is cut.
        order = scores + 2.0 * ~cut
        kept = _suppress(boxes, order, labels, self.iou)
        kept = kept[~_is_piece(boxes[kept], labels[kept], cut[kept])]
        if (across := getattr(self.function, "iou_across_labels", 1.0)) < 1:
            kept = kept[_suppress(boxes[kept], order[kept], np.zeros_like(kept), across)]
        return [found[index].shape for index in kept[np.argsort(-scores[kept], kind="stable")]]


@dataclass(frozen=True)
class _TileDetection:
    """A shape in pixels of the image."""

    shape: LabeledShapeRequest
    box: Box
    is_cut: bool
    """Whether it touches an edge of its tile at which the image goes on."""

    @classmethod
    def on_tile(cls, shape: LabeledShapeRequest, tile: Box, size: tuple[int, int]) -> _TileDetection:
        left, top, right, bottom = tile
        width, height = size
        moved = _moved(shape, int(left), int(top))
        box = _box(moved)
        is_cut = (
            (left > 0 and box[0] < left + _AT_THE_EDGE)
            or (top > 0 and box[1] < top + _AT_THE_EDGE)
            or (right < width and box[2] > right - _AT_THE_EDGE)
            or (bottom < height and box[3] > bottom - _AT_THE_EDGE)
        )
        return cls(moved, box, is_cut)


def _moved(shape: LabeledShapeRequest, x: int, y: int) -> LabeledShapeRequest:
    elements = [
        element.model_copy(update={"points": _moved_points(element, x, y)}) for element in shape.elements
    ]
    return shape.model_copy(update={"points": _moved_points(shape, x, y), "elements": elements})


def _moved_points(shape: SubLabeledShapeRequest, x: int, y: int) -> list[float]:
    # Of a mask, only the last four numbers are places.
    fixed = len(shape.points) - 4 if shape.type is ShapeType.MASK else 0
    places = shape.points[fixed:]
    return [*shape.points[:fixed], *(place + (y if index % 2 else x) for index, place in enumerate(places))]


def _box(shape: LabeledShapeRequest) -> Box:
    """Return the box around a shape; a rotation is not taken into account."""
    points = shape.points
    match shape.type:
        case ShapeType.MASK:
            left, top, right, bottom = points[-4:]
            return left, top, right + 1, bottom + 1
        case ShapeType.ELLIPSE:
            x, y, right, top = points
            return 2 * x - right, top, right, 2 * y - top
        case ShapeType.SKELETON:
            points = [place for element in shape.elements if not element.outside for place in element.points]
    xs, ys = points[::2] or [0.0], points[1::2] or [0.0]
    return min(xs), min(ys), max(xs), max(ys)


def _suppress(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], labels: NDArray[Any], iou: float
) -> NDArray[np.intp]:
    """Non-maximum suppression within each label: the indices of the boxes that stay, best scores first."""
    order = np.argsort(-scores, kind="stable")
    boxes, labels = boxes[order], labels[order]
    is_kept = np.ones(len(order), dtype=np.bool_)
    for label in np.unique(labels):
        waiting = np.flatnonzero(labels == label)
        while len(waiting):
            best, waiting = waiting[0], waiting[1:]
            overlaps = box_iou(boxes[best, None], boxes[waiting])[0] > iou
            is_kept[waiting[overlaps]] = False
            waiting = waiting[~overlaps]
    return order[is_kept]


def _is_piece(boxes: NDArray[np.float64], labels: NDArray[Any], cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which shapes are cut and lie mostly in a whole one of the same label."""
    parts, wholes = boxes[cut, None], boxes[None, ~cut]
    corners = np.maximum(parts[..., :2], wholes[..., :2])
    sizes = (np.minimum(parts[..., 2:], wholes[..., 2:]) - corners).clip(min=0)
    areas = (parts[..., 2:] - parts[..., :2]).prod(2)
    covered = (sizes.prod(2) >= _MOSTLY * areas) & (labels[cut, None] == labels[None, ~cut])
    pieces = np.zeros(len(boxes), dtype=np.bool_)
    pieces[cut] = covered.any(1)
    return pieces
