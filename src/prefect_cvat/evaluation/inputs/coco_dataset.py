"""Reads and validates ground truth and predictions in COCO's format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Dataset", "IouType", "read_dataset"]

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


@dataclass(frozen=True, slots=True)
class Dataset:
    """Validated ground truth and predictions.

    Attributes:
        iou_type: What is compared.
        categories: Names of categories by id.
        truth: Ground-truth objects.
        predictions: Predictions.
        sigmas: The OKS sigmas of the keypoints of each category, by category id.
    """

    iou_type: IouType
    categories: dict[int, str]
    truth: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    sigmas: dict[int, tuple[float, ...]]


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
    sigmas = {category["id"]: _sigmas(category) for category in truth["categories"]}
    reader = _Reader(iou_type, images, categories, sigmas)
    objects = [
        reader.read(item, f"annotation {place} of the truth")
        for place, item in enumerate(truth["annotations"])
    ]
    found = [reader.read(item, f"prediction {place}", scored=True) for place, item in enumerate(predictions)]
    return Dataset(
        iou_type=iou_type,
        categories=categories,
        truth=objects,
        predictions=found,
        sigmas=sigmas,
    )


def _sigmas(category: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(COCO_SIGMAS.get(name, DEFAULT_SIGMA) for name in category.get("keypoints") or ())


@dataclass(frozen=True, slots=True)
class _Reader:
    iou_type: IouType
    images: Mapping[int, Any]
    categories: Mapping[int, str]
    sigmas: Mapping[int, tuple[float, ...]]

    def read(self, item: Mapping[str, Any], name: str, *, scored: bool = False) -> dict[str, Any]:
        """The fields of one annotation that are compared."""
        try:
            image, category = item["image_id"], item["category_id"]
            if image not in self.images:
                raise ValueError(f"{name} is on image {image!r}, which the truth does not have")
            if category not in self.categories:
                raise ValueError(f"{name} is of category {category!r}, which the truth does not have")
            crowd = 0 if scored else int(item.get("iscrowd", 0))
            own = {"image_id": image, "category_id": category, "iscrowd": crowd}
            if scored:
                own["score"] = score = float(item["score"])
                if not math.isfinite(score):
                    raise ValueError(f"{name} has the score {score}")
            shape = getattr(self, f"_{self.iou_type}")(item, category, name)
        except KeyError as error:
            raise ValueError(f"{name} has no {error.args[0]!r}") from None
        return {**own, "ignore": crowd, **shape}

    def _bbox(self, item: Mapping[str, Any], _category: int, name: str) -> dict[str, Any]:
        box = [float(number) for number in item["bbox"]]
        if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] < 0 or box[3] < 0:
            raise ValueError(f"{name} has the box {item['bbox']} (expected x, y, width, height)")
        return {"bbox": box}

    def _segm(self, item: Mapping[str, Any], _category: int, name: str) -> dict[str, Any]:
        segmentation = item.get("segmentation")
        if segmentation is None:  # as in pycocotools, a box is a rectangular mask
            left, top, width, height = self._bbox(item, _category, name)["bbox"]
            right, bottom = left + width, top + height
            segmentation = [[left, top, left, bottom, right, bottom, right, top]]
        if not segmentation:
            raise ValueError(f"{name} has an empty 'segmentation'")
        return {"rle": self._run_lengths(segmentation, self.images[item["image_id"]])}

    def _run_lengths(self, segmentation: Any, image: Mapping[str, Any]) -> Any:
        """Convert polygons or RLE to compressed RLE."""
        from faster_coco_eval import mask  # imports OpenCV where there is one

        size = image["height"], image["width"]
        if isinstance(segmentation, list):
            return mask.merge(mask.frPyObjects(segmentation, *size))
        if isinstance(segmentation["counts"], list):
            return mask.frPyObjects(segmentation, *size)
        return segmentation

    def _keypoints(self, item: Mapping[str, Any], category: int, name: str) -> dict[str, Any]:
        keypoints = list(item["keypoints"])
        wanted = 3 * len(self.sigmas[category])
        if len(keypoints) != wanted or not all(map(math.isfinite, keypoints)):
            raise ValueError(
                f"{name} has {len(keypoints)} finite numbers for keypoints; category"
                f" {self.categories[category]!r} has {wanted // 3} keypoints of 3 numbers"
            )
        if "score" in item:
            return {"keypoints": keypoints}
        seen = item.get("num_keypoints", sum(number > 0 for number in keypoints[2::3]))
        ignore = int(not seen or item.get("iscrowd", 0))
        area, box = float(item["area"]), list(item["bbox"])
        return {"keypoints": keypoints, "num_keypoints": seen, "area": area, "bbox": box, "ignore": ignore}
