"""How well an interaction function finds objects in their boxes, next to filling the box.

    python benchmarks/interaction_quality.py PHOTOS [--function grabcut_interaction]

PHOTOS is a folder with `instances.json` in COCO's format, and `images`. Each object's box is the prompt;
what counts is the intersection over union with its mask.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_refiner import ShapeRefiner
from prefect_cvat.masks import decode_mask
from prefect_cvat.media.untrusted_images import open_image

Bitmap = NDArray[np.bool_]
LARGE = 32 * 32
"""From this many pixels on, COCO calls an object medium or large."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--function", default="grabcut_interaction")
    parser.add_argument("--parameters", type=json.loads, default={})
    arguments = parser.parse_args()
    refiner = ShapeRefiner(load_function(arguments.function, arguments.parameters), "mask")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(arguments.photos / "instances.json"))
    found: dict[str, list[float]] = {"the box, filled": [], "the ellipse in it": [], arguments.function: []}
    areas: list[int] = []
    seconds = 0.0
    for number, record in coco.imgs.items():
        path = arguments.photos / "images" / record["file_name"]
        image = open_image(path, path)
        image.load()
        objects = [each for each in coco.dataset["annotations"] if each["image_id"] == number]
        objects = [each for each in objects if not each["iscrowd"]]
        shapes = [_rectangle(each["bbox"]) for each in objects]
        start = time.perf_counter()
        refined = refiner.refine(Frame(0, record["file_name"], *image.size), image, shapes)
        seconds += time.perf_counter() - start
        for each, (_, bodies) in zip(objects, refined, strict=True):
            truth = coco.annToMask(each).astype(bool)
            areas.append(int(truth.sum()))
            masks = [
                decode_mask(body["points"], image_width=image.width, image_height=image.height)
                for body in bodies
            ]
            found[arguments.function].append(iou(np.any([np.zeros_like(truth), *masks], axis=0), truth))
            for name, fill in (("the box, filled", _box), ("the ellipse in it", _ellipse)):
                found[name].append(iou(fill(truth.shape, each["bbox"]), truth))
    print(f"{len(areas)} objects, {seconds / len(areas) * 1000:.0f} ms each")
    print("| | mean IoU | median | mean of those from 32x32 pixels on |\n|---|---|---|---|")
    for name, values in found.items():
        large = [value for value, area in zip(values, areas, strict=True) if area >= LARGE]
        print(
            f"| {name} | {statistics.mean(values):.3f} | {statistics.median(values):.3f}"
            f" | {statistics.mean(large):.3f} ({len(large)}) |"
        )


def iou(one: Bitmap, other: Bitmap) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _rectangle(bbox: list[float]) -> dict[str, object]:
    x, y, width, height = bbox
    return {"type": "rectangle", "frame": 0, "label_id": 1, "points": [x, y, x + width, y + height]}


def _box(shape: tuple[int, int], bbox: list[float]) -> Bitmap:
    return _where(shape, bbox, lambda x, y: np.maximum(abs(x), abs(y)))


def _ellipse(shape: tuple[int, int], bbox: list[float]) -> Bitmap:
    return _where(shape, bbox, lambda x, y: x**2 + y**2)


def _where(
    shape: tuple[int, int],
    bbox: list[float],
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> Bitmap:
    left, top, width, height = bbox
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = measure((x - left - width / 2) / (width / 2), (y - top - height / 2) / (height / 2)) <= 1
    return np.asarray(inside, dtype=np.bool_)


if __name__ == "__main__":
    main()
