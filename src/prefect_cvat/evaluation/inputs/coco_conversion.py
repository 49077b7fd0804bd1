"""CVAT's shapes in COCO's format, truth and predictions side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clipping import is_empty
from prefect_cvat.geometry.coco_format import box_of, keypoints_of, segmentation_of
from prefect_cvat.geometry.outlines import WITH_AREA, has_outline
from prefect_cvat.models import Label

__all__ = ["Comparison", "compare_in_coco", "outlined_labels"]

Shape = Mapping[str, Any]

_AREA_PER_BOX_AREA = 0.53
"""What part of its box an object fills that is known by its keypoints only, as for CrowdPose."""

_ABSENT = -1e6
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
    frames: Iterable[Frame],
    labels: Sequence[Label],
    truth: Sequence[Shape],
    predicted: Sequence[Shape],
    outlined: Collection[int] | None = None,
) -> dict[IouType, Comparison]:
    """Put shapes into COCO's format, in each of the ways in which they can be compared.

    Boxes (`bbox`) are those around whatever has an area. Masks (`segm`) are made of labels that have outlines
    (polygons, masks, ellipses, turned rectangles) on both sides, if any has; labels that were drawn one way
    and found the other are compared by their boxes only. Skeletons are compared by their `keypoints` only,
    polylines and points not at all, nor what is empty.

    Args:
        frames: The frames that count; all shapes are on one of these.
        labels: The labels of the task.
        truth: The shapes that humans drew, as the server's JSON objects.
        predicted: Those that were found.
        outlined: The labels that masks are made of; None if these shapes are all that there are.

    Returns:
        The ways that there are shapes for.

    Raises:
        InvalidResponseError: A shape is none.
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
    """The labels that masks are made of.

    Args:
        parts: The shapes that humans drew, and those that were found; all of them, a part at a time.
    """
    found: set[int] = set()
    found_outlined: set[int] = set()
    drawn_outlined: set[int] = set()
    for drawn_part, found_part in parts:
        for shape in found_part:
            if shape["type"] in WITH_AREA:
                found.add(shape["label_id"])
            if has_outline(shape):
                found_outlined.add(shape["label_id"])
        drawn_outlined.update(shape["label_id"] for shape in drawn_part if has_outline(shape))
    if not drawn_outlined & found_outlined:
        return set()
    return drawn_outlined - (found - found_outlined)


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
        """The shapes that can be compared in a way, each as COCO has it."""
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
            box = box_of(shape)
            own |= {"bbox": box, "area": box[2] * box[3]}
            return {**own, "segmentation": segmentation_of(shape, frame)} if iou_type == "segm" else own
        except (ValueError, IndexError) as error:
            raise InvalidResponseError(
                f"the {shape['type']} {shape.get('id', '')} on {frame} cannot be read: {error}"
            ) from None

    def _keypoints(self, skeleton: Shape) -> dict[str, Any]:
        found = keypoints_of(skeleton, self._sublabels[skeleton["label_id"]], absent=_ABSENT)
        return {**found, "area": _AREA_PER_BOX_AREA * found["bbox"][2] * found["bbox"][3]}


def _is_comparable(shape: Shape, iou_type: IouType) -> bool:
    if iou_type == "keypoints":
        return bool(shape["type"] == "skeleton")
    return shape["type"] in WITH_AREA and not is_empty(shape["type"], shape["points"])
