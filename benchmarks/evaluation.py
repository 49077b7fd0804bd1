"""Evaluation: how long it takes, and what thresholds are worth that follow from it.

`speed` evaluates a large task, from CVAT's shapes to the figures, and has pycocotools do the same. Each frame
has so many objects of 20 labels, drawn by hand. Most are found, a little off, with a score, some as another
label, and there are as many false alarms as are missed. The peak is that of the process.
With `--resamples`, these predictions are also compared with nine of ten of them.

`cells` evaluates the detector of examples/blood_cells.py on the photographs that it was not trained on,
`photos` NanoDet on photographs of COCO. Both choose thresholds on half of them, and tell the F1 on the other
half, over many ways to halve them.

    python benchmarks/evaluation.py speed [--frames 10000] [--objects 20] [--way bbox|segm]
        [--pycocotools] [--resamples 1000]
    python benchmarks/evaluation.py cells BCCD_FOLDER blood_cells.safetensors [--halvings 100]
    python benchmarks/evaluation.py photos COCO_FOLDER [--halvings 100]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.evaluation import Evaluation, compare_evaluations, evaluate
from prefect_cvat.evaluation.inputs.coco_conversion import compare_in_coco
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.report.tables import aligned, shape_rows
from prefect_cvat.evaluation.thresholds import best_thresholds
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detection_calls import DetectionContext
from prefect_cvat.masks import encode_mask
from prefect_cvat.media.untrusted_images import open_image
from prefect_cvat.models import Label

WIDTH, HEIGHT = 768, 576
LABELS = [Label(id=number, name=f"label {number}") for number in range(1, 21)]

Shape = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("--frames", type=int, default=10_000)
    speed.add_argument("--objects", type=int, default=20)
    speed.add_argument("--way", choices=("bbox", "segm"), default="bbox", help="boxes or masks")
    speed.add_argument("--pycocotools", action="store_true", help="also let pycocotools do the same")
    speed.add_argument("--resamples", type=int, default=0, help="also compare, with so many resamples")
    cells = commands.add_parser("cells")
    cells.add_argument("folder", type=Path, help="photographs of blood, see examples/blood_cells.py")
    cells.add_argument("weights", type=Path, help="what the example has written")
    photos = commands.add_parser("photos")
    photos.add_argument("folder", type=Path, help="instances.json, and the photographs in images/")
    for command in (cells, photos):
        command.add_argument("--halvings", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.command == "speed":
        measure_speed(
            arguments.way, arguments.frames, arguments.objects, arguments.pycocotools, arguments.resamples
        )
    elif arguments.command == "cells":
        sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
        example = importlib.import_module("blood_cells")
        held_out = read_cells(example.read_photographs(arguments.folder)[1::2], example.LABELS)
        measure_thresholds(*held_out, example.create(str(arguments.weights)), arguments.halvings)
    else:
        function = load_function("nanodet_detection", {})  # torch comes with it
        measure_thresholds(*read_coco(arguments.folder), function, arguments.halvings)


def read_cells(photographs: Any, labels: Sequence[str]) -> tuple[dict[str, Any], list[Path]]:
    """What is on photographs, in COCO's format, and their files."""
    categories = {name: number for number, name in enumerate(labels, 1)}
    truth: dict[str, Any] = {
        "images": [],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [],
    }
    for image_id, (path, cells) in enumerate(photographs, 1):
        with open_image(path, path) as image:
            truth["images"].append({"id": image_id, "width": image.width, "height": image.height})
        for name, (left, top, right, bottom) in cells:
            box = [left, top, right - left, bottom - top]
            item = {"id": len(truth["annotations"]) + 1, "image_id": image_id, "iscrowd": 0}
            item |= {"category_id": categories[name], "bbox": box, "area": box[2] * box[3]}
            truth["annotations"].append(item)
    return truth, [path for path, _ in photographs]


def read_coco(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    truth = json.loads((folder / "instances.json").read_text())
    return truth, [folder / "images" / image["file_name"] for image in truth["images"]]


def find_boxes(
    truth: dict[str, Any], files: Sequence[Path], function: Any
) -> tuple[list[dict[str, Any]], float]:
    """What a function finds, as COCO's results, and how many seconds that takes."""
    categories = {category["name"]: category["id"] for category in truth["categories"]}
    own = {label.id: categories[label.name] for label in function.spec.labels}
    predictions = []
    started = time.perf_counter()
    for image, path in zip(truth["images"], files, strict=True):
        with open_image(path, path) as photograph:
            found = function.detect(DetectionContext(path.name, conf_threshold=0.02), photograph)
        for one in found:
            left, top, right, bottom = one.points
            item = {"image_id": image["id"], "category_id": own[one.label_id], "score": one.score}
            predictions.append(item | {"bbox": [left, top, right - left, bottom - top]})
    return predictions, time.perf_counter() - started


def measure_thresholds(truth: dict[str, Any], files: Sequence[Path], function: Any, halvings: int) -> None:
    predictions, seconds = find_boxes(truth, files, function)
    everything = evaluate(truth, predictions, score_threshold=function.score_threshold)
    print(f"{len(files)} photographs, {seconds / len(files):.2f} s each to detect")
    for line in aligned(shape_rows(everything)):
        print(line)
    frequent = [name for name, label in everything.by_label.items() if label.truth >= 20]
    gains: dict[str, list[list[float]]] = {}
    thresholds: dict[str, list[float]] = {}
    for number in range(halvings):
        images = np.random.default_rng(number).permutation([image["id"] for image in truth["images"]])
        half = len(images) // 2
        seen = evaluate(*part(truth, predictions, images[:half]))
        rest = evaluate(*part(truth, predictions, images[half:]))
        default = dict.fromkeys(rest.by_label, function.score_threshold)
        of_all = seen.curve.smoothed_best_threshold()
        chosen = dict.fromkeys(rest.by_label, of_all) | best_thresholds(seen)
        for name in ("all", *frequent):
            labels = [name] if name in frequent else list(rest.by_label)
            gains.setdefault(name, []).append([f1(rest, labels, some) for some in (default, chosen)])
            thresholds.setdefault(name, []).append(chosen.get(name, of_all))
    print(f"F1 on the half that thresholds were not chosen on, mean of {halvings} ways to halve them:")
    for name, pairs in gains.items():
        before, after = np.nanmean(pairs, axis=0)
        better, worse = (np.mean([sign * (late - early) > 0 for early, late in pairs]) for sign in (1, -1))
        print(
            f"  {name}: {before:.3f} at {function.score_threshold}, the default; {after:.3f} at those chosen:"
            f" {np.mean(thresholds[name]):.2f} (standard deviation {np.std(thresholds[name]):.2f});"
            f" better in {better:.0%}, worse in {worse:.0%}"
        )


def f1(evaluation: Evaluation, labels: Sequence[str], thresholds: dict[str, float]) -> float:
    """The F1 of some labels together, each at its threshold; NaN where none of them is there or found."""
    counts = [evaluation.by_label[name].curve.at(thresholds[name]) for name in labels]
    right = sum(count.true_positives for count in counts)
    all_of_them = sum(count.truth + count.false_positives for count in counts) + right
    return 2 * right / all_of_them if all_of_them else float("nan")


def part(
    truth: dict[str, Any], predictions: list[dict[str, Any]], images: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    wanted = set(images.tolist())
    return (
        truth
        | {
            "images": [image for image in truth["images"] if image["id"] in wanted],
            "annotations": [item for item in truth["annotations"] if item["image_id"] in wanted],
        },
        [item for item in predictions if item["image_id"] in wanted],
    )


def measure_speed(
    way: IouType, frame_count: int, objects: int, with_pycocotools: bool, resamples: int
) -> None:
    frames = [Frame(number, f"{number}.png", WIDTH, HEIGHT) for number in range(frame_count)]
    truth, found = annotate(frame_count, objects, way)
    started, cpu_started = time.perf_counter(), time.process_time()
    compared = compare_in_coco(frames, LABELS, truth, found)
    converted = time.perf_counter()
    result = evaluate(compared[way].truth, compared[way].predictions, iou_type=way)
    done, cpu_seconds = time.perf_counter(), time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{way}: {frame_count} frames, {len(truth)} objects, {len(found)} predictions:"
        f" {converted - started:.1f} s to put them into COCO's format, {done - converted:.1f} s to evaluate,"
        f" {cpu_seconds:.1f} s of the processor,"
        f" {frame_count / (done - started):.0f} frames per second; peak of the process {peak:.0f} MB;"
        f" AP {result.ap:.6f}, F1 {result.f1:.3f}"
    )
    if resamples:
        fewer = [item for place, item in enumerate(compared[way].predictions) if place % 10]
        other = evaluate(compared[way].truth, fewer, iou_type=way)
        started = time.perf_counter()
        difference = compare_evaluations(result, other, range(frame_count), resamples=resamples)
        recall = difference.overall.metrics["recall"]
        seconds = time.perf_counter() - started
        print(
            f"{way}: {seconds:.1f} s to compare with {len(fewer)} of the predictions, with"
            f" {resamples} resamples; recall {recall.difference:+.4f} [{recall.low:+.4f}, {recall.high:+.4f}]"
        )
    if with_pycocotools:
        if way == "segm":
            from pycocotools import mask

            for item in compared[way].truth["annotations"]:
                item["area"] = float(mask.area(item["segmentation"]))  # pycocotools needs it
        started, cpu_started = time.perf_counter(), time.process_time()
        ap = evaluate_by_pycocotools(compared[way].truth, compared[way].predictions, way)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        print(f"{way}: pycocotools takes {seconds:.1f} s, {cpu_seconds:.1f} s of the processor; AP {ap:.6f}")


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
