"""How long it takes to evaluate a large task, from CVAT's shapes to the figures; and pycocotools beside it.

Each frame has so many objects of 20 labels, drawn by hand; most are found, a little off, with a score, some as
another label, and there are as many false alarms as are missed.

    python benchmarks/evaluation.py [--frames 10000] [--objects 20] [--masks 1000] [--pycocotools]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from prefect_cvat.evaluation import evaluate
from prefect_cvat.evaluation.dataset import IouType
from prefect_cvat.evaluation.from_cvat import compare_in_coco
from prefect_cvat.masks import encode_mask
from prefect_cvat.media import Frame
from prefect_cvat.models import Label

WIDTH, HEIGHT = 768, 576
LABELS = [Label(id=number, name=f"label {number}") for number in range(1, 21)]

Shape = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument(
        "--masks", type=int, default=1_000, help="frames with masks instead of boxes; 0 for none"
    )
    parser.add_argument("--pycocotools", action="store_true", help="also let pycocotools do the same")
    arguments = parser.parse_args()
    for way, frames in (("bbox", arguments.frames), ("segm", arguments.masks)):
        if frames:
            measure(way, frames, arguments.objects, arguments.pycocotools)


def measure(way: IouType, frame_count: int, objects: int, with_pycocotools: bool) -> None:
    frames = [Frame(number, f"{number}.png", WIDTH, HEIGHT) for number in range(frame_count)]
    truth, found = annotate(frame_count, objects, way)
    started = time.perf_counter()
    compared = compare_in_coco(frames, LABELS, truth, found)
    converted = time.perf_counter()
    result = evaluate(compared[way].truth, compared[way].predictions, iou_type=way)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{way}: {frame_count} frames, {len(truth)} objects, {len(found)} predictions:"
        f" {converted - started:.1f} s to put them into COCO's format, {done - converted:.1f} s to evaluate,"
        f" {frame_count / (done - started):.0f} frames per second; peak of the process {peak:.0f} MB;"
        f" AP {result.ap:.6f}, F1 {result.f1:.3f}"
    )
    if with_pycocotools:
        started = time.perf_counter()
        ap = evaluate_by_pycocotools(compared[way].truth, compared[way].predictions, way)
        print(f"{way}: pycocotools takes {time.perf_counter() - started:.1f} s; AP {ap:.6f}")


def annotate(frame_count: int, objects: int, way: IouType) -> tuple[list[Shape], list[Shape]]:
    random = np.random.default_rng(0)
    truth: list[Shape] = []
    found: list[Shape] = []
    for number in range(frame_count):
        corners = random.uniform(0, (WIDTH - 110, HEIGHT - 110), (objects, 2))
        sizes = random.uniform(20, 100, (objects, 2))
        boxes = np.concatenate([corners, corners + sizes], axis=1)
        labels = random.integers(1, 21, objects)
        seen = np.where(random.random(objects) < 0.9, labels, random.integers(1, 21, objects))
        near = np.clip(boxes + random.normal(0, 4, boxes.shape), 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
        is_missed = random.random(objects) < 0.15
        near[is_missed] = random.permutation(boxes)[is_missed] + (5, 30, 5, 30)
        scores = random.uniform(0.05, 1, objects)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            truth.append(shape(number, label, box, way) | {"source": "manual"})
        for box, label, score in zip(near.tolist(), seen.tolist(), scores.tolist(), strict=True):
            found.append(shape(number, label, box, way) | {"source": "auto", "score": score})
    return truth, found


def shape(frame: int, label: int, box: Sequence[float], way: IouType) -> Shape:
    own = {"frame": frame, "label_id": label, "rotation": 0.0, "attributes": []}
    if way == "bbox":
        return own | {"type": "rectangle", "points": list(box)}
    left, top, right, bottom = (round(number) for number in box)
    width, height = max(right - left, 2), max(bottom - top, 2)
    y, x = np.mgrid[:height, :width]
    ellipse = ((x + 0.5) / width * 2 - 1) ** 2 + ((y + 0.5) / height * 2 - 1) ** 2 <= 1
    offset = (min(left, WIDTH - width), min(top, HEIGHT - height))
    return own | {"type": "mask", "points": encode_mask(ellipse, offset=offset)}


def evaluate_by_pycocotools(truth: dict[str, Any], found: list[dict[str, Any]], way: IouType) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = truth
        objects.createIndex()
        run = COCOeval(objects, objects.loadRes(found), way)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0])


if __name__ == "__main__":
    main()
