"""CVAT's shapes in COCO's format, truth and predictions side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefect_cvat.evaluation.dataset import IouType
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.masks import decode_mask
from prefect_cvat.media import Frame
from prefect_cvat.models import Label

__all__ = ["Comparison", "compare_in_coco"]

Shape = Mapping[str, Any]

_WITH_AREA = frozenset({"rectangle", "polygon", "mask", "ellipse", "cuboid"})
_CORNERS = 72
"""How many corners the polygon has that stands for an ellipse; its area is 0.1 % less."""

_SIZE_OF_BOX = 0.53
"""What part of its box an object fills that is known by its keypoints only, as for CrowdPose."""

_FAR = -1e6
"""Where keypoints are that were not found: near none."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Truth and predictions in COCO's format. Images are frames, categories are labels, with CVAT's ids.

    Attributes:
        truth: The truth, as in `instances.json`.
        predictions: A list of COCO's results.
        truth_shapes: CVAT's shapes, one for each of the truth's `annotations`.
        predicted_shapes: CVAT's shapes, one for each of the `predictions`.
    """

    truth: dict[str, Any]
    predictions: list[dict[str, Any]] = field(default_factory=list)
    truth_shapes: list[Shape] = field(default_factory=list)
    predicted_shapes: list[Shape] = field(default_factory=list)


def compare_in_coco(
    frames: Iterable[Frame], labels: Sequence[Label], truth: Sequence[Shape], predicted: Sequence[Shape]
) -> dict[IouType, Comparison]:
    """Put shapes into COCO's format, in each of the ways in which they can be compared.

    Boxes (`bbox`) are those around whatever has an area. Masks (`segm`) are made of labels that have outlines
    (polygons, masks, ellipses, turned rectangles) on both sides, if any has; labels that were drawn one way
    and found the other are compared by their boxes only. Skeletons are compared by their `keypoints` only,
    polylines and points not at all.

    Args:
        frames: The frames that count; all shapes are on one of these.
        labels: The labels of the task.
        truth: The shapes that humans drew, as the server's JSON objects.
        predicted: Those that were found.

    Returns:
        The ways that there are shapes for.

    Raises:
        InvalidResponseError: A shape is none.
    """
    maker = _Maker({frame.number: frame for frame in frames}, labels)
    outlined = _outlined_labels(truth, predicted)
    comparisons: dict[IouType, Comparison] = {
        "bbox": maker.compare("bbox", truth, predicted),
        "segm": maker.compare("segm", _of(outlined, truth), _of(outlined, predicted)),
        "keypoints": maker.compare("keypoints", truth, predicted),
    }
    return {
        way: comparison
        for way, comparison in comparisons.items()
        if comparison.truth_shapes or comparison.predicted_shapes
    }


def _outlined_labels(truth: Iterable[Shape], predicted: Sequence[Shape]) -> set[int]:
    found = {shape["label_id"] for shape in predicted if shape["type"] in _WITH_AREA}
    found_outlined = {shape["label_id"] for shape in predicted if _has_outline(shape)}
    drawn_outlined = {shape["label_id"] for shape in truth if _has_outline(shape)}
    if not drawn_outlined & found_outlined:
        return set()
    return drawn_outlined - (found - found_outlined)


def _has_outline(shape: Shape) -> bool:
    return shape["type"] in ("polygon", "mask", "ellipse") or bool(
        shape["type"] == "rectangle" and shape.get("rotation")
    )


def _of(labels: set[int], shapes: Iterable[Shape]) -> list[Shape]:
    return [shape for shape in shapes if shape["label_id"] in labels and shape["type"] != "cuboid"]


class _Maker:
    def __init__(self, frames: Mapping[int, Frame], labels: Sequence[Label]) -> None:
        self._frames = frames
        self._sublabels = {label.id: [sublabel.id for sublabel in label.sublabels] for label in labels}
        self._images = [
            {"id": frame.number, "file_name": frame.name, "width": frame.width, "height": frame.height}
            for frame in frames.values()
        ]
        self._categories = [
            {"id": label.id, "name": label.name, "keypoints": [sublabel.name for sublabel in label.sublabels]}
            for label in labels
        ]

    def compare(self, way: IouType, truth: Sequence[Shape], predicted: Sequence[Shape]) -> Comparison:
        """The shapes that can be compared in a way, each as COCO has it."""
        annotations: list[dict[str, Any]] = []
        comparison = Comparison(
            {"images": self._images, "categories": self._categories, "annotations": annotations}
        )
        for number, shape in enumerate((shape for shape in truth if _suits(shape, way)), 1):
            annotations.append({"id": number, "iscrowd": 0, **self._annotation(shape, way)})
            comparison.truth_shapes.append(shape)
        for shape in predicted:
            if _suits(shape, way):
                score = float(shape.get("score", 1.0))
                comparison.predictions.append({**self._annotation(shape, way), "score": score})
                comparison.predicted_shapes.append(shape)
        return comparison

    def _annotation(self, shape: Shape, way: IouType) -> dict[str, Any]:
        frame = self._frames[shape["frame"]]
        own = {"image_id": frame.number, "category_id": shape["label_id"]}
        try:
            if way == "keypoints":
                return {**own, **self._keypoints(shape)}
            box = _box(shape)
            own |= {"bbox": box, "area": box[2] * box[3]}
            return {**own, "segmentation": _segmentation(shape, frame)} if way == "segm" else own
        except (ValueError, IndexError) as error:
            raise InvalidResponseError(
                f"the {shape['type']} {shape.get('id', '')} on {frame} cannot be read: {error}"
            ) from None

    def _keypoints(self, skeleton: Shape) -> dict[str, Any]:
        elements = {element["label_id"]: element for element in skeleton.get("elements") or ()}
        keypoints: list[float] = []
        xs, ys = [], []
        for sublabel in self._sublabels[skeleton["label_id"]]:
            element = elements.get(sublabel)
            if element is None or element.get("outside") or len(element["points"]) != 2:
                keypoints += (_FAR, _FAR, 0)
                continue
            x, y = element["points"]
            xs.append(x)
            ys.append(y)
            keypoints += (x, y, 1 if element.get("occluded") else 2)
        box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)] if xs else [0.0, 0.0, 0.0, 0.0]
        area = _SIZE_OF_BOX * box[2] * box[3]
        return {"keypoints": keypoints, "num_keypoints": len(xs), "bbox": box, "area": area}


def _suits(shape: Shape, way: IouType) -> bool:
    if way == "keypoints":
        return bool(shape["type"] == "skeleton")
    return shape["type"] in _WITH_AREA


def _box(shape: Shape) -> list[float]:
    """The box around a shape: x, y, width, height."""
    if shape["type"] == "mask":
        left, top, right, bottom = shape["points"][-4:]
        return [left, top, right - left + 1, bottom - top + 1]
    corners = _corners(shape)
    xs, ys = corners[0::2], corners[1::2]
    left, top = min(xs), min(ys)
    return [left, top, max(xs) - left, max(ys) - top]


def _segmentation(shape: Shape, frame: Frame) -> Any:
    if shape["type"] != "mask":
        return [_corners(shape)]
    from faster_coco_eval import mask  # imports OpenCV where there is one

    size = [frame.height, frame.width]
    encoded = mask.frPyObjects({"size": size, "counts": _column_runs(shape["points"], frame)}, *size)
    return {"size": size, "counts": encoded["counts"].decode()}


def _column_runs(points: Sequence[float], frame: Frame) -> list[int]:
    """The run lengths of a mask as COCO has them: of the whole image, column by column, background first."""
    *runs, left, top, right, bottom = points
    if not (0 <= left <= right < frame.width and 0 <= top <= bottom < frame.height):
        raise ValueError(f"its box ({left}, {top}, {right}, {bottom}) is not within the image")
    width, height = int(right - left) + 1, int(bottom - top) + 1
    in_box = decode_mask([*runs, 0, 0, width - 1, height - 1], image_width=width, image_height=height)
    columns = np.zeros((width, frame.height), dtype=np.bool_)  # of the whole image it would be slow
    columns[:, int(top) : int(top) + height] = in_box.T
    pixels = np.pad(columns.ravel(), 1)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + int(left) * frame.height
    counts: list[int] = np.diff([0, *changes, frame.width * frame.height]).tolist()
    return counts if counts[-1] else counts[:-1]


def _corners(shape: Shape) -> list[float]:
    """The corners of a shape with an area, `[x, y, x, y, ...]`; those of an ellipse are many."""
    points = shape["points"]
    rotation = shape.get("rotation") or 0.0
    if shape["type"] == "ellipse":
        cx, cy, right, top = points
        steps = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        xs, ys = (right - cx) * np.cos(steps), (cy - top) * np.sin(steps)
    elif shape["type"] == "rectangle":
        x1, y1, x2, y2 = points
        if not rotation:
            return [x1, y1, x2, y1, x2, y2, x1, y2]
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        xs, ys = np.array([x1, x2, x2, x1]) - cx, np.array([y1, y1, y2, y2]) - cy
    else:
        return list(points)
    turn = math.radians(rotation)
    turned = np.stack(
        [
            cx + xs * math.cos(turn) - ys * math.sin(turn),
            cy + xs * math.sin(turn) + ys * math.cos(turn),
        ],
        axis=1,
    )
    corners: list[float] = turned.ravel().tolist()
    return corners
