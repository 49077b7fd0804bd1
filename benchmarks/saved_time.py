"""What thresholds that are chosen for saved time are worth, against those for F1 and the default.

Thresholds are chosen on half of the photographs. On the other half a corrector is simulated, who makes of
the detections what the truth says: confirms, moves, relabels and deletes shapes, and draws what is missing.
The seconds are those of `prefect-cvat saved`.

    python benchmarks/saved_time.py cells BCCD_FOLDER blood_cells.safetensors [--halvings 200]
    python benchmarks/saved_time.py photos COCO_FOLDER [--halvings 200]
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import find_boxes, part, read_cells, read_coco
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.corrections import Correction, CorrectionKind
from prefect_cvat.corrections.correction_seconds import seconds_with_run, seconds_without_run
from prefect_cvat.evaluation import evaluate
from prefect_cvat.evaluation.thresholds import best_thresholds
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.iou import box_iou
from prefect_cvat.options.correction_options import CorrectionSeconds

MIN_IOU = 0.5
FRAME = Frame(0, "", 10_000, 10_000)
DRAWING = 7.0, 25.5
"""Seconds to draw a box: by its four extreme points, and by dragging it; see `CorrectionSeconds`."""

ACCEPTED = 0.8, 0.9
"""IoU from which a box is left as it is."""

Item = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cells = commands.add_parser("cells")
    cells.add_argument("folder", type=Path, help="photographs of blood, see examples/blood_cells.py")
    cells.add_argument("weights", type=Path, help="what the example has written")
    photos = commands.add_parser("photos")
    photos.add_argument("folder", type=Path, help="instances.json, and the photographs in images/")
    for command in (cells, photos):
        command.add_argument("--halvings", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.command == "cells":
        sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
        example = importlib.import_module("blood_cells")
        truth, files = read_cells(example.read_photographs(arguments.folder)[1::2], example.LABELS)
        function = example.create(str(arguments.weights))
    else:
        truth, files = read_coco(arguments.folder)
        function = load_function("nanodet_detection", {})
    predictions, _ = find_boxes(truth, files, function)
    for draw_box, accepted_iou in itertools.product(DRAWING, ACCEPTED):
        seconds = CorrectionSeconds(draw_box=draw_box, accepted_iou=accepted_iou)
        print(
            f"{len(files)} photographs, a box drawn in {draw_box:g} s, left from an IoU of {accepted_iou} on:"
        )
        measure(truth, predictions, function.score_threshold, seconds, arguments.halvings)


def measure(
    truth: Mapping[str, Any],
    predictions: Sequence[Item],
    default: float,
    seconds: CorrectionSeconds,
    halvings: int,
) -> None:
    names = {category["id"]: category["name"] for category in truth["categories"]}
    objects, found = by_image(truth["annotations"]), by_image(predictions)
    rows: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    for number in range(halvings):
        images = np.random.default_rng(number).permutation([image["id"] for image in truth["images"]])
        half = len(images) // 2
        seen = evaluate(*part(dict(truth), list(predictions), images[:half]))
        of_all = seen.curve.smoothed_best_threshold() or default
        chosen: dict[str, dict[str, float]] = {
            "no first pass": dict.fromkeys(names.values(), 2.0),
            f"default, {default}": dict.fromkeys(names.values(), default),
            "chosen for F1": dict.fromkeys(names.values(), of_all) | best_thresholds(seen),
            "chosen for time": dict.fromkeys(names.values(), of_all) | best_thresholds(seen, seconds=seconds),
        }
        for name, thresholds in chosen.items():
            total = sum(
                corrected(objects.get(image, []), found.get(image, []), names, thresholds, seconds)
                for image in images[half:].tolist()
            )
            rows.setdefault(name, []).append(total / len(images[half:]))
            values.setdefault(name, []).append(float(np.mean([thresholds[each] for each in seen.by_label])))
    by_hand, f1 = np.array(rows["no first pass"]), np.array(rows["chosen for F1"])
    for name, totals in rows.items():
        own = np.array(totals)
        print(
            f"  {name}: {own.mean():.1f} s a photograph, {1 - own.sum() / by_hand.sum():.1%} saved; mean"
            f" threshold {np.mean(values[name]):.2f}; less time than for F1 in"
            f" {np.mean(own < f1 - 1e-9):.0%}, more in {np.mean(own > f1 + 1e-9):.0%}"
        )


def by_image(items: Sequence[Item]) -> dict[int, list[Item]]:
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(item["image_id"], []).append(item)
    return found


def corrected(
    objects: Sequence[Item],
    found: Sequence[Item],
    names: Mapping[int, str],
    thresholds: Mapping[str, float],
    seconds: CorrectionSeconds,
) -> float:
    """The seconds to make what is true of what was found on a photograph."""
    kept = sorted(
        (item for item in found if item["score"] >= thresholds[names[item["category_id"]]]),
        key=lambda item: -item["score"],
    )
    free = list(range(len(objects)))
    pairs: dict[int, int] = {}
    overlap = box_iou(boxes_of(kept), boxes_of(objects))
    for same_label in (True, False):
        for place, item in enumerate(kept):
            if place in pairs:
                continue
            fitting = [
                index
                for index in free
                if overlap[place, index] >= MIN_IOU
                and (objects[index]["category_id"] == item["category_id"]) is same_label
            ]
            if fitting:
                pairs[place] = max(fitting, key=lambda index: overlap[place, index])
                free.remove(pairs[place])
    total = sum(
        delete(item, seconds)
        if place not in pairs
        else correct(item, objects[pairs[place]], float(overlap[place, pairs[place]]), seconds)
        for place, item in enumerate(kept)
    )
    drawn = [Correction("drawn", 0, "", None, shape(objects[index]), None, "") for index in free]
    return total + sum(seconds_without_run(each, seconds) for each in drawn)


def delete(item: Item, seconds: CorrectionSeconds) -> float:
    return seconds_with_run(Correction("deleted", 0, "", shape(item), None, "f", "r"), FRAME, seconds)


def correct(item: Item, found: Item, iou: float, seconds: CorrectionSeconds) -> float:
    is_moved = iou < seconds.accepted_iou
    is_same = item["category_id"] == found["category_id"]
    kind: CorrectionKind = "relabelled" if not is_same else "moved" if is_moved else "confirmed"
    done = Correction(kind, 0, "", shape(item), shape(found), "f", "r", "", is_moved)
    return seconds_with_run(done, FRAME, seconds)


def shape(item: Item) -> Item:
    x, y, width, height = item["bbox"]
    return {"type": "rectangle", "frame": 0, "label_id": 0, "points": [x, y, x + width, y + height]}


def boxes_of(items: Sequence[Item]) -> Any:
    return np.array([shape(item)["points"] for item in items], dtype=np.float64).reshape(-1, 4)


if __name__ == "__main__":
    main()
