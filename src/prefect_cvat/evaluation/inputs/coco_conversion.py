"""Converts CVAT's shapes of ground truth and predictions to COCO's format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import is_empty
from prefect_cvat.geometry.coco_format import box_of, keypoints_of, segmentation_of
from prefect_cvat.geometry.outlines import WITH_AREA, has_outline
from prefect_cvat.models import Label

__all__ = ["Comparison", "compare_in_coco", "outlined_labels"]

Shape = Mapping[str, Any]

_AREA_PER_BOX_AREA = 0.53
"""Area of an object with keypoints only, as a fraction of its box: the value of CrowdPose."""

_ABSENT = -1e6
"""Coordinate of missing keypoints in pixels, so far away that their similarity is 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Ground truth and predictions in COCO's format, with CVAT's ids of frames and labels.

    Attributes:
        truth: The ground truth, as in `instances.json`.
        predictions: The predictions, as COCO's results.
        truth_shapes: CVAT's shape for each annotation of `truth`.
        predicted_shapes: CVAT's shape for each of the `predictions`.
    """

    truth: dict[str, Any]
    predictions: list[dict[str, Any]] = field(default_factory=list)
    truth_shapes: list[Shape] = field(default_factory=list)
    predicted_shapes: list[Shape] = field(default_factory=list)


def compare_in_coco(
    frames: Iterable[Frame],
    labels: Sequence[Label],
    truth: Sequence[Shape],
    predicted: Sequence[Shape],
    outlined: Collection[int] | None = None,
) -> dict[IouType, Comparison]:
    """Convert shapes to COCO's format for each IoU type.

    - `bbox`: the bounding boxes of all shapes with an area.
    - `segm`: the masks of labels whose ground truth and predictions have outlines (polygons, masks, ellipses,
      rotated rectangles). A label with outlines in only one of them is compared by boxes only.
    - `keypoints`: skeletons.

    Polylines, points and empty shapes are not compared.

    Args:
        frames: The evaluated frames, with all frames of the shapes.
        labels: The labels of the task.
        truth: The ground-truth shapes, as the server's JSON objects.
        predicted: The predicted shapes.
        outlined: Ids of the labels to compare by masks; None determines them from these shapes.

    Returns:
        The IoU types with shapes.

    Raises:
        InvalidResponseError: A shape is invalid.
    """
    converter = _CocoConverter({frame.number: frame for frame in frames}, labels)
    if outlined is None:
        outlined = outlined_labels([(truth, predicted)])
    comparisons: dict[IouType, Comparison] = {
        "bbox": converter.compare("bbox", truth, predicted),
        "segm": converter.compare("segm", _of(outlined, truth), _of(outlined, predicted)),
        "keypoints": converter.compare("keypoints", truth, predicted),
    }
    return {
        iou_type: comparison
        for iou_type, comparison in comparisons.items()
        if comparison.truth_shapes or comparison.predicted_shapes
    }


def outlined_labels(parts: Iterable[tuple[Iterable[Shape], Iterable[Shape]]]) -> set[int]:
    """The ids of labels to compare by masks, see `compare_in_coco`.

    Args:
        parts: Ground-truth and predicted shapes, in parts.
    """
    predicted: set[int] = set()
    predicted_outlined: set[int] = set()
    true_outlined: set[int] = set()
    for true_shapes, predicted_shapes in parts:
        for shape in predicted_shapes:
            if shape["type"] in WITH_AREA:
                predicted.add(shape["label_id"])
            if has_outline(shape):
                predicted_outlined.add(shape["label_id"])
        true_outlined.update(shape["label_id"] for shape in true_shapes if has_outline(shape))
    if not true_outlined & predicted_outlined:
        return set()
    return true_outlined - (predicted - predicted_outlined)


def _of(labels: Collection[int], shapes: Iterable[Shape]) -> list[Shape]:
    return [shape for shape in shapes if shape["label_id"] in labels and shape["type"] != "cuboid"]


class _CocoConverter:
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

    def compare(self, iou_type: IouType, truth: Sequence[Shape], predicted: Sequence[Shape]) -> Comparison:
        """Convert the shapes that can be compared by an IoU type."""
        annotations: list[dict[str, Any]] = []
        comparison = Comparison(
            {"images": self._images, "categories": self._categories, "annotations": annotations}
        )
        for number, shape in enumerate((shape for shape in truth if _is_comparable(shape, iou_type)), 1):
            annotations.append({"id": number, "iscrowd": 0, **self._annotation(shape, iou_type)})
            comparison.truth_shapes.append(shape)
        for shape in predicted:
            if _is_comparable(shape, iou_type):
                score = float(shape.get("score", 1.0))
                comparison.predictions.append({**self._annotation(shape, iou_type), "score": score})
                comparison.predicted_shapes.append(shape)
        return comparison

    def _annotation(self, shape: Shape, iou_type: IouType) -> dict[str, Any]:
        frame = self._frames[shape["frame"]]
        own = {"image_id": frame.number, "category_id": shape["label_id"]}
        try:
            if iou_type == "keypoints":
                return {**own, **self._keypoints(shape)}
            if iou_type == "segm":  # without box and area: the area is that of the mask
                return {**own, "segmentation": segmentation_of(shape, frame)}
            box = box_of(shape)
            return {**own, "bbox": box, "area": box[2] * box[3]}
        except (ValueError, IndexError) as error:
            raise InvalidResponseError(
                f"the {shape['type']} {shape.get('id', '')} on {frame} cannot be read: {error}"
            ) from None

    def _keypoints(self, skeleton: Shape) -> dict[str, Any]:
        converted = keypoints_of(skeleton, self._sublabels[skeleton["label_id"]], absent=_ABSENT)
        return {**converted, "area": _AREA_PER_BOX_AREA * converted["bbox"][2] * converted["bbox"][3]}


def _is_comparable(shape: Shape, iou_type: IouType) -> bool:
    if iou_type == "keypoints":
        return bool(shape["type"] == "skeleton")
    return shape["type"] in WITH_AREA and not is_empty(shape["type"], shape["points"])
