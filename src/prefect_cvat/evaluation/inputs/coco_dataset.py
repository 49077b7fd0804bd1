"""Reads and validates ground truth and predictions in COCO's format, as columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset", "IouType", "Items", "read_dataset"]

IouType = Literal["bbox", "segm", "keypoints"]
"""What is compared: boxes, masks or keypoints, as in pycocotools."""

_SIGMAS = (0.25, 0.35, 0.79, 0.72, 0.62, 1.07, 0.87, 0.89)
_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO_SIGMAS = {
    "nose": 0.026,
    **{
        f"{side}_{part}": deviation / 10
        for part, deviation in zip(_PARTS, _SIGMAS, strict=True)
        for side in ("left", "right")
    },
}
"""OKS sigmas by keypoint name: the standard deviation of human annotators, relative to the object's scale.

These are the `kpt_oks_sigmas` of pycocotools.
"""

DEFAULT_SIGMA = sum(COCO_SIGMAS.values()) / len(COCO_SIGMAS)
"""The sigma of keypoints that COCO does not have."""


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Ground-truth objects or predictions, as columns.

    Attributes:
        image: `[N]`: index of the image, in ascending order of image ids.
        label: `[N]`: index of the category.
        area: `[N]`: the area in square pixels, as pycocotools takes it for its ranges of areas.
        scores: `[N]`: the scores; zeros for objects.
        is_crowd: `[N]`: whether the object is a crowd.
        is_ignored: `[N]`: whether the object is ignored.
        boxes: `[N, 4]`: left, top, width, height in pixels; empty for masks, and for predicted keypoints.
        masks: Compressed run lengths, for masks.
        keypoints: `[3 K]` for each item: x, y and visibility of its keypoints.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    area: NDArray[np.float64]
    scores: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    is_ignored: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    masks: Sequence[Any] = ()
    keypoints: Sequence[NDArray[np.float64]] = ()

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Validated ground truth and predictions.

    Attributes:
        iou_type: What is compared.
        categories: The names of the categories.
        image_ids: The ids of the images, ascending.
        truth: Ground-truth objects.
        predictions: Predictions.
        sigmas: The OKS sigmas of the keypoints of each category.
    """

    iou_type: IouType
    categories: tuple[str, ...]
    image_ids: NDArray[Any]
    truth: Items
    predictions: Items
    sigmas: tuple[tuple[float, ...], ...]


def read_dataset(
    truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], iou_type: IouType
) -> Dataset:
    """Read ground truth and predictions in COCO's format. The arguments are not changed.

    Raises:
        ValueError: They are not in COCO's format, or a prediction has an unknown image or category. The
            message names the item.
    """
    if iou_type not in ("bbox", "segm", "keypoints"):
        raise ValueError(f"iou_type must be 'bbox', 'segm' or 'keypoints', not {iou_type!r}")
    for key in ("images", "categories", "annotations"):
        if not isinstance(truth, Mapping) or key not in truth:
            raise ValueError(f"the truth must be an object in COCO's format; it has no {key!r}")
    images = {image["id"]: image for image in truth["images"]}
    categories = {category["id"]: str(category["name"]) for category in truth["categories"]}
    if len(set(categories.values())) < len(categories):
        raise ValueError("two categories of the truth have the same name")
    try:
        image_ids = sorted(images)
    except TypeError:
        raise ValueError("the ids of the images must be all numbers or all texts") from None
    sigmas = tuple(_sigmas(category) for category in truth["categories"])
    reader = _Reader(
        iou_type, images, {key: place for place, key in enumerate(image_ids)}, categories, sigmas
    )
    return Dataset(
        iou_type=iou_type,
        categories=tuple(categories.values()),
        image_ids=np.array(image_ids),
        truth=reader.read(_Rows(truth["annotations"], "annotation {} of the truth"), scored=False),
        predictions=reader.read(_Rows(predictions, "prediction {}"), scored=True),
        sigmas=sigmas,
    )


def _sigmas(category: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(COCO_SIGMAS.get(name, DEFAULT_SIGMA) for name in category.get("keypoints") or ())


@dataclass(frozen=True, slots=True)
class _Rows:
    """Annotations, and how messages name the one at a place."""

    items: Sequence[Mapping[str, Any]]
    name: str

    def named(self, place: int) -> str:
        return self.name.format(place)

    def column(self, key: str) -> list[Any]:
        try:
            return [item[key] for item in self.items]
        except KeyError:
            place = next(place for place, item in enumerate(self.items) if key not in item)
            raise ValueError(f"{self.named(place)} has no {key!r}") from None

    def places(self, key: str, known: Mapping[Any, int], what: str) -> NDArray[np.int64]:
        """The index of each item's image or category."""
        values = self.column(key)
        places = [known.get(value, -1) for value in values]
        if -1 in places:
            place = places.index(-1)
            raise ValueError(
                f"{self.named(place)} is {what} {values[place]!r}, which the truth does not have"
            )
        return np.array(places, dtype=np.int64)

    def boxes(self) -> NDArray[np.float64]:
        """`[N, 4]`: left, top, width, height."""
        column = self.column("bbox")
        try:
            boxes = np.array(column, dtype=np.float64).reshape(len(column), -1)
        except (ValueError, TypeError):  # not all of them have four numbers
            boxes = np.full((len(column), 1), np.nan)
        if not column:
            return np.zeros((0, 4))
        if boxes.shape[1] != 4 or not np.isfinite(boxes).all() or (boxes[:, 2:] < 0).any():
            place = next(place for place, box in enumerate(column) if not _is_box(box))
            raise ValueError(
                f"{self.named(place)} has the box {column[place]} (expected x, y, width, height)"
            )
        return boxes

    def scores(self) -> NDArray[np.float64]:
        column = self.column("score")
        scores = self._numbers("score", column)
        if not np.isfinite(scores).all():
            place = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f"{self.named(place)} has the score {column[place]}")
        return scores

    def areas(self, otherwise: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The given areas; of items without one, another area, or an error."""
        if otherwise is None:
            return self._numbers("area", self.column("area"))
        areas = self._numbers("area", [item.get("area") for item in self.items])
        return np.where(np.isnan(areas), otherwise, areas)

    def _numbers(self, key: str, column: list[Any]) -> NDArray[np.float64]:
        """`[N]`: numbers; NaN for None."""
        try:
            return np.array(column, dtype=np.float64).reshape(len(column))
        except (ValueError, TypeError):
            place = next(place for place, value in enumerate(column) if not isinstance(value, int | float))
            raise ValueError(f"{self.named(place)} has the {key} {column[place]!r}, not a number") from None


def _is_box(box: Any) -> bool:
    try:
        left, top, width, height = map(float, box)
    except (ValueError, TypeError):
        return False
    return all(map(math.isfinite, (left, top, width, height))) and width >= 0 and height >= 0


@dataclass(frozen=True, slots=True)
class _Reader:
    iou_type: IouType
    images: Mapping[Any, Any]
    image_places: Mapping[Any, int]
    categories: Mapping[Any, str]
    sigmas: Sequence[Sequence[float]]

    def read(self, rows: _Rows, *, scored: bool) -> Items:
        """The fields of annotations that are compared."""
        image = rows.places("image_id", self.image_places, "on image")
        category_places = {key: place for place, key in enumerate(self.categories)}
        label = rows.places("category_id", category_places, "of category")
        scores = rows.scores() if scored else np.zeros(len(image))
        is_crowd = np.zeros(len(image), dtype=bool)
        if not scored:
            is_crowd[:] = [bool(item.get("iscrowd", 0)) for item in rows.items]
        columns = getattr(self, f"_{self.iou_type}")(rows, label, scored)
        is_ignored = is_crowd | columns.pop("is_empty", False)
        return Items(image, label, scores=scores, is_crowd=is_crowd, is_ignored=is_ignored, **columns)

    def _bbox(self, rows: _Rows, _label: NDArray[np.int64], scored: bool) -> dict[str, Any]:
        boxes = rows.boxes()
        area = boxes[:, 2] * boxes[:, 3]
        return {"boxes": boxes, "area": area if scored else rows.areas(area)}

    def _segm(self, rows: _Rows, _label: NDArray[np.int64], scored: bool) -> dict[str, Any]:
        from faster_coco_eval import mask  # imports OpenCV where there is one

        masks = [self._run_lengths(item, rows.named(place)) for place, item in enumerate(rows.items)]
        area = np.asarray(mask.area(masks), dtype=np.float64) if masks else np.zeros(0)
        return {
            "masks": masks,
            "boxes": np.zeros((0, 4)),
            # as pycocotools: a result with a box has the area of its box
            "area": _box_areas(rows.items, area) if scored else rows.areas(area),
        }

    def _run_lengths(self, item: Mapping[str, Any], name: str) -> Any:
        """The segmentation as compressed run lengths. As in pycocotools, a box is a rectangular mask."""
        from faster_coco_eval import mask  # imports OpenCV where there is one

        image = self.images[item["image_id"]]
        size = image["height"], image["width"]
        segmentation = item.get("segmentation")
        if segmentation is None:
            left, top, width, height = _Rows([item], name).boxes()[0].tolist()
            right, bottom = left + width, top + height
            segmentation = [[left, top, left, bottom, right, bottom, right, top]]
        if not segmentation:
            raise ValueError(f"{name} has an empty 'segmentation'")
        if isinstance(segmentation, list):
            return mask.merge(mask.frPyObjects(segmentation, *size))
        if isinstance(segmentation["counts"], list):
            return mask.frPyObjects(segmentation, *size)
        return segmentation

    def _keypoints(self, rows: _Rows, label: NDArray[np.int64], scored: bool) -> dict[str, Any]:
        keypoints = []
        for place, (points, category) in enumerate(zip(rows.column("keypoints"), label, strict=True)):
            wanted = 3 * len(self.sigmas[category])
            if len(points) != wanted or not all(map(math.isfinite, points)):
                raise ValueError(
                    f"{rows.named(place)} has {len(points)} finite numbers for keypoints; category"
                    f" {list(self.categories.values())[category]!r} has {wanted // 3} keypoints of 3 numbers"
                )
            keypoints.append(np.array(points, dtype=np.float64))
        if scored:
            extents = [_extent(points) for points in keypoints]
            area = _box_areas(rows.items, np.array(extents, dtype=np.float64))
            return {"keypoints": keypoints, "boxes": np.zeros((0, 4)), "area": area}
        seen = [
            item.get("num_keypoints", np.count_nonzero(points[2::3] > 0))
            for item, points in zip(rows.items, keypoints, strict=True)
        ]
        return {
            "keypoints": keypoints,
            "boxes": rows.boxes(),
            "area": rows.areas(),
            "is_empty": np.array([not number for number in seen], dtype=bool),
        }


def _box_areas(items: Sequence[Mapping[str, Any]], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """The areas of the boxes of items; of items without one, another area."""
    for place, item in enumerate(items):
        if item.get("bbox"):
            otherwise[place] = float(item["bbox"][2]) * float(item["bbox"][3])
    return otherwise


def _extent(keypoints: NDArray[np.float64]) -> float:
    """The area of the box around keypoints."""
    xs, ys = keypoints[0::3], keypoints[1::3]
    return float(np.ptp(xs) * np.ptp(ys)) if len(xs) else 0.0
