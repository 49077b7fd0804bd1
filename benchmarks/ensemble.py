"""What an ensemble of two functions is worth: average precision, and the order of review by its scores.

`cells`: two detectors of examples/blood_cells.py, trained with different seeds, on the photographs that they
were not trained on. `photos`: NanoDet on whole photographs of COCO and on tiles of them.

The order of review is that of the report, without deleted or empty frames: frames with most expected
corrections first. The mistakes are those of the better single function at its default threshold, or of the
ensemble: objects that it missed, and shapes that match none at an IoU of 0.5. The area under the share of
mistakes found against the share of frames looked at is 0.5 for no order.

    python benchmarks/ensemble.py cells BCCD_FOLDER seed-0.safetensors seed-1.safetensors
    python benchmarks/ensemble.py photos COCO_FOLDER
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import find_boxes, read_cells, read_coco
from prefect_cvat.auto_annotation.functions import ensemble
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.evaluation import Evaluation, evaluate
from prefect_cvat.models import Job
from prefect_cvat.review.frame_ranking import rank_frames
from prefect_cvat.review.frame_summary import FrameSummaries, summarize_shapes

BOOTSTRAPS = 2000

Item = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cells = commands.add_parser("cells")
    cells.add_argument("folder", type=Path)
    cells.add_argument("weights", type=Path, nargs=2)
    photos = commands.add_parser("photos")
    photos.add_argument("folder", type=Path)
    photos.add_argument("--tile", type=int, default=320)
    for command in (cells, photos):
        command.add_argument("--bootstraps", type=int, default=200, help="of average precision")
    arguments = parser.parse_args()
    functions: dict[str, Any]
    if arguments.command == "cells":
        sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
        example = importlib.import_module("blood_cells")
        truth, files = read_cells(example.read_photographs(arguments.folder)[1::2], example.LABELS)
        functions = {f"seed {n}": example.create(str(path)) for n, path in enumerate(arguments.weights)}
    else:
        truth, files = read_coco(arguments.folder)
        tiled = {"function": "nanodet_detection", "tile": arguments.tile}
        functions = {
            "whole": load_function("nanodet_detection", {}),
            "tiles": load_function("tiled", tiled),
        }
    functions["ensemble"] = ensemble.create(dict(functions), vote_threshold=0.02)
    found = {name: find_boxes(truth, files, function)[0] for name, function in functions.items()}
    results = {name: evaluate(truth, items) for name, items in found.items()}
    for name, result in results.items():
        at = result.best_threshold or 0.5
        print(
            f"{name}: AP {result.ap:.3f}, AP50 {result.ap50:.3f}, best F1 {result.best_f1:.3f} at {at:.2f}; "
            + ", ".join(
                f"{label} {each.ap:.3f}" for label, each in result.by_label.items() if each.truth >= 20
            )
        )
    gains(truth, found, arguments.bootstraps)
    singles = [name for name in functions if name != "ensemble"]
    better = max(singles, key=lambda name: results[name].ap or 0.0)
    orders(truth, found, better, functions[better].score_threshold, results["ensemble"])


def gains(truth: Mapping[str, Any], found: Mapping[str, Sequence[Item]], bootstraps: int) -> None:
    """The difference in AP to each single function, with intervals by bootstrap over the photographs."""
    random = np.random.default_rng(0)
    images = [image["id"] for image in truth["images"]]
    samples = [random.choice(images, len(images)) for _ in range(bootstraps)]
    own = np.array([resampled(truth, found["ensemble"], sample).ap or 0.0 for sample in samples])
    for name, items in found.items():
        if name != "ensemble":
            other = np.array([resampled(truth, items, sample).ap or 0.0 for sample in samples])
            low, middle, high = np.percentile(own - other, [5, 50, 95])
            print(
                f"AP beyond that of {name}: {middle:+.3f} ({low:+.3f} to {high:+.3f}, 90 % of"
                f" {len(samples)} bootstraps); more in {np.mean(own > other):.0%}"
            )


def resampled(truth: Mapping[str, Any], items: Sequence[Item], images: NDArray[np.int64]) -> Evaluation:
    """The evaluation of photographs drawn with replacement."""
    by_image: dict[int, list[Item]] = {}
    objects: dict[int, list[Item]] = {}
    for item in items:
        by_image.setdefault(item["image_id"], []).append(item)
    for item in truth["annotations"]:
        objects.setdefault(item["image_id"], []).append(item)
    sizes = {image["id"]: image for image in truth["images"]}
    drawn: dict[str, Any] = {**truth, "images": [], "annotations": []}
    predictions = []
    for number, image in enumerate(images.tolist(), 1):
        drawn["images"].append({**sizes[image], "id": number})
        for item in objects.get(image, ()):
            drawn["annotations"].append({**item, "id": len(drawn["annotations"]) + 1, "image_id": number})
        predictions += [{**item, "image_id": number} for item in by_image.get(image, ())]
    return evaluate(drawn, predictions)


def orders(
    truth: Mapping[str, Any],
    found: Mapping[str, Sequence[Item]],
    better: str,
    threshold: float,
    of_ensemble: Evaluation,
) -> None:
    """Compare orders of review, for what the better function and the ensemble would write."""
    fused_threshold = of_ensemble.best_threshold or 0.3
    images = [image["id"] for image in truth["images"]]
    written = {
        better: [item for item in found[better] if item["score"] >= threshold],
        "ensemble": [item for item in found["ensemble"] if item["score"] >= fused_threshold],
    }
    for name, items in written.items():
        mistakes = count_mistakes(truth, items, images)
        start = threshold if name == better else fused_threshold
        print(f"{mistakes.sum()} mistakes of {name} from {start:.2f} on:")
        doubts = {
            "report of the better function": expected(found[better], threshold, images),
            "report of the ensemble": expected(found["ensemble"], fused_threshold, images),
            "the same, from half of its threshold on": expected(
                found["ensemble"], fused_threshold / 2, images
            ),
            "number of shapes": np.array([sum(i["image_id"] == n for i in items) for n in images], float),
            "lowest score": np.array(
                [1 - min((i["score"] for i in items if i["image_id"] == n), default=1.0) for n in images]
            ),
        }
        areas = {way: bootstrap_areas(doubt, mistakes) for way, doubt in doubts.items()}
        for way, doubt in doubts.items():
            area, quarter = area_of(doubt, mistakes), share_on_first(doubt, mistakes, 0.25)
            against = areas["report of the better function"]
            print(
                f"  {way}: area {area:.3f}, {quarter:.2f} on the first quarter; more area than the report of"
                f" the better function in {np.mean(areas[way] > against):.0%} of {BOOTSTRAPS} bootstraps"
            )


def expected(items: Sequence[Item], threshold: float, images: Sequence[int]) -> NDArray[np.float64]:
    """The expected corrections of each photograph, as a report has them."""
    shapes: dict[int, list[Item]] = {}
    for item in items:
        if item["score"] >= threshold:
            x, y, width, height = item["bbox"]
            shape = {"type": "rectangle", "label_id": item["category_id"], "score": item["score"]}
            shapes.setdefault(item["image_id"], []).append({**shape, "points": [x, y, x + width, y + height]})
    summaries = [summarize_shapes(number, shapes.get(image, [])) for number, image in enumerate(images)]
    labels = {item["category_id"]: str(item["category_id"]) for item in items}
    job = Job(id=1, task_id=1, start_frame=0, stop_frame=len(images) - 1)
    reviews = rank_frames(
        FrameSummaries(summaries), labels=labels, jobs=[job], url="", max_frames=len(images)
    )
    found = np.zeros(len(images))
    for review in reviews:
        found[review.frame] = review.expected_corrections
    return found


def count_mistakes(
    truth: Mapping[str, Any], items: Sequence[Item], images: Sequence[int]
) -> NDArray[np.int64]:
    """The missed objects and false alarms on each photograph."""
    matches = evaluate(truth, items).matches
    wrong = matches.image[(matches.object_of < 0) & ~matches.is_ignored]
    missed = matches.object_image[~matches.is_detected & matches.is_evaluated]
    return np.array([np.sum(wrong == image) + np.sum(missed == image) for image in images])


def share_on_first(doubt: NDArray[np.float64], mistakes: NDArray[np.int64], part: float) -> float:
    ordered = mistakes[np.argsort(-doubt, kind="stable")]
    whole, rest = divmod(part * len(ordered), 1)
    return float((ordered[: int(whole)].sum() + rest * ordered[int(whole)]) / mistakes.sum())


def area_of(doubt: NDArray[np.float64], mistakes: NDArray[np.int64]) -> float:
    """The area under the share of mistakes found against the share of frames looked at."""
    ordered = mistakes[np.argsort(-doubt, kind="stable")]
    shares = np.concatenate([[0.0], np.cumsum(ordered) / max(ordered.sum(), 1)])
    return float(np.trapezoid(shares, dx=1 / len(ordered)))


def bootstrap_areas(doubt: NDArray[np.float64], mistakes: NDArray[np.int64]) -> NDArray[np.float64]:
    random = np.random.default_rng(0)
    samples = random.integers(0, len(doubt), (BOOTSTRAPS, len(doubt)))
    return np.array([area_of(doubt[sample], mistakes[sample]) for sample in samples])


if __name__ == "__main__":
    main()
