"""Small data sets in COCO's format."""

from typing import Any

Box = list[float] | tuple[float, ...]


def dataset(*objects: tuple[int, int, Box], images: int = 2, labels: int = 2) -> dict[str, Any]:
    """Ground truth of objects, each an image id, a category id and a box; labels are named a, b, c."""
    return {
        "images": [{"id": number, "width": 640, "height": 480} for number in range(1, images + 1)],
        "categories": [{"id": number, "name": "abcdefgh"[number - 1]} for number in range(1, labels + 1)],
        "annotations": [
            {"id": place, "image_id": image, "category_id": category, "iscrowd": 0}
            | {"bbox": list(box), "area": box[2] * box[3]}
            for place, (image, category, box) in enumerate(objects, 1)
        ],
    }


def found(image: int, category: int, box: Box, score: float) -> dict[str, Any]:
    """A result."""
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
