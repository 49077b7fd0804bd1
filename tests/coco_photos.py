"""Photographs of COCO with their objects, as predictions and as CVAT tasks, and the metrics of pycocotools."""

import contextlib
import io
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from prefect_cvat import Client
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector
from prefect_cvat.models import PatchedLabelRequest


def read_coco(test_data: Path, name: str) -> dict[str, Any]:
    return json.loads((test_data / "coco-photos" / f"{name}.json").read_text())


def evaluate_by_pycocotools(truth, predictions, iou_type):
    """Run pycocotools, and return its COCOeval."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = deepcopy(truth)
        objects.createIndex()
        found = objects.loadRes(deepcopy(predictions))
        run = COCOeval(objects, found, iou_type)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def nanodet_predictions(test_data: Path, truth: dict[str, Any], threshold: float) -> list[dict[str, Any]]:
    """What NanoDet finds on the photographs of a data set, as COCO's results."""
    function = load_function("nanodet_detection", {})
    names = {label.id: label.name for label in function.spec.labels}
    categories = {category["name"]: category["id"] for category in truth["categories"]}
    opened = []
    for image in truth["images"]:
        photo = PIL.Image.open(test_data / "coco-photos" / "images" / image["file_name"]).convert("RGB")
        opened.append((Frame(image["id"], image["file_name"], *photo.size), photo))
    results = []
    for found in Detector(function, conf_threshold=threshold).detect(opened):
        for shape in found.shapes:
            x1, y1, x2, y2 = shape.points
            results.append(
                {
                    "image_id": found.frame,
                    "category_id": categories[names[shape.label_id]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": shape.score,
                }
            )
    return results


def half_right(truth: dict[str, Any], iou_type: str, seed: int = 1) -> list[dict[str, Any]]:
    """Predictions made from the ground truth: slightly moved, some of them doubled, with random scores."""
    from pycocotools import mask

    random = np.random.default_rng(seed)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    results = []
    for item in truth["annotations"]:
        result = {"image_id": item["image_id"], "category_id": item["category_id"]}
        if iou_type == "bbox":
            x, y, width, height = item["bbox"]
            result["bbox"] = [*(np.array([x, y]) + random.normal(0, 8, 2)).tolist(), width, height]
        elif iou_type == "segm":
            moved = [
                (np.array(part) + random.normal(0, 4, len(part))).tolist() for part in item["segmentation"]
            ]
            encoded = mask.merge(mask.frPyObjects(moved, *sizes[item["image_id"]]))
            result["segmentation"] = {**encoded, "counts": encoded["counts"].decode()}
        else:
            points = np.array(item["keypoints"], float).reshape(-1, 3)
            points[:, :2] += random.normal(0, 8, (len(points), 2))
            result["keypoints"] = points.ravel().tolist()
        results += [
            {**deepcopy(result), "score": float(random.random())} for _ in range(random.integers(1, 3))
        ]
    return results


def create_task(
    client: Client, test_data: Path, truth: dict[str, Any], labels: list[PatchedLabelRequest], **fields: Any
) -> tuple[int, dict[int, int], dict[str, int]]:
    """Create a task of the photographs of a data set.

    Returns:
        The task, the numbers of its frames by COCO's image ids, and the ids of its labels by name.
    """
    task = client.create_task("photographs of COCO", labels)
    files = {
        image["file_name"]: (test_data / "coco-photos" / "images" / image["file_name"]).read_bytes()
        for image in truth["images"]
    }
    client.upload_images(task.id, files, **{"chunk_size": 4, **fields})
    numbers = {frame.name: number for number, frame in enumerate(client.meta(task.id).frames)}
    frames = {image["id"]: numbers[image["file_name"]] for image in truth["images"]}
    return task.id, frames, {label.name: label.id for label in client.labels(task.id)}
