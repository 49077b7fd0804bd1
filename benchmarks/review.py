"""Whether the frames that a report says to look at first are those with the mistakes.

A mistake is a missed object, a false shape or a wrong label, at an IoU of 0.5 as in the evaluation. For each
order of the frames: the share of the mistakes found over the share of frames looked at, as the area under
that curve (0.5 in no order) and at a quarter of the frames. What is learned is learned from other frames than
those that it orders. The last column is the share of the bootstraps over frames (in a video, over blocks of
frames) in which the learned order has a larger area.

    python examples/blood_cells.py bccd odd.safetensors
    python examples/blood_cells.py bccd even.safetensors --even
    python benchmarks/review.py photos coco-photos
    python benchmarks/review.py cells bccd odd.safetensors even.safetensors
    python benchmarks/review.py video pedestrians.mp4
    python benchmarks/review.py speed
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from review_mistakes import (
    Array,
    area_under,
    bootstrap,
    boxes,
    count_mistakes,
    fold_numbers,
    match_objects,
    shapes_from,
)
from review_sets import Found, Picture, read_cells, read_photographs, read_video

from prefect_cvat.geometry.bounding_box import area
from prefect_cvat.geometry.iou import box_iou
from prefect_cvat.models import Job
from prefect_cvat.review.calibration import Calibration, fit_calibration
from prefect_cvat.review.evidence import Evidence, group_of, is_at_edge
from prefect_cvat.review.frame_ranking import rank_frames
from prefect_cvat.review.frame_summary import FrameSummaries, FrameSummary, summarize_shapes
from prefect_cvat.review.uncertainty import measure_uncertainty

Change = Callable[[list[Found], Picture, int], list[Found]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    photos, cells, video = (commands.add_parser(name) for name in ("photos", "cells", "video"))
    photos.add_argument("folder", type=Path)
    cells.add_argument("folder", type=Path)
    cells.add_argument("weights", type=Path, nargs=2)
    video.add_argument("file", type=Path)
    for command, default in ((photos, 0.4), (cells, 0.5), (video, 0.4)):
        command.add_argument("--thresholds", type=float, nargs="+", default=[default])
    speed = commands.add_parser("speed")
    speed.add_argument("--frames", type=int, default=50_000)
    speed.add_argument("--shapes", type=int, default=20)
    given = parser.parse_args()
    if given.command == "speed":
        measure_speed(given.frames, given.shapes)
        return
    if given.command == "photos":
        pictures = read_photographs(given.folder)
    elif given.command == "cells":
        pictures = read_cells(given.folder, given.weights)
    else:
        pictures = read_video(given.file)
    for threshold in given.thresholds:
        for line in compare(pictures, threshold, is_video=given.command == "video"):
            print(line, flush=True)


def compare(pictures: Sequence[Picture], threshold: float, *, is_video: bool) -> Iterator[str]:
    """The table of the orders."""
    pairs = [count_mistakes(picture, threshold) for picture in pictures]
    mistakes = np.array([missed + false for missed, false in pairs], dtype=float)
    yield (
        f"threshold {threshold}: {len(pictures)} frames, {mistakes.sum():.0f} mistakes,"
        f" {sum(missed for missed, _ in pairs)} of them missed objects"
    )
    folds = fold_numbers(len(pictures), is_video)
    learn = partial(learned_order, pictures, threshold, folds)
    order = learn()
    orders = {
        **simple_orders(pictures, threshold),
        "report, nothing learned": reported_order(pictures, threshold, threshold),
        "report, nothing learned, from half the threshold": reported_order(
            pictures, threshold, threshold / 2
        ),
        "learned, without detections below the threshold": learn(lowest=threshold),
        "LEARNED": order,
        "learned, without the label": learn(without=("label",)),
        "learned, without the size": learn(without=("area",)),
        "learned, without the edge": learn(without=("edge",)),
        "learned, without the overlap": learn(without=("overlap",)),
        "learned, by the score alone": learn(without=("label", "area", "edge", "overlap")),
        "learned, with the mirrored image": learn(change=mean_with_mirrored),
    }
    if is_video:
        orders["learned, with the neighbours"] = learn(change=partial(mean_with_neighbours, pictures))
    drawn = list(bootstrap(len(pictures), is_video))
    best = np.array([area_under(order[some], mistakes[some])[0] for some in drawn])
    yield f"expected corrections, learned: {order.sum():.0f}"
    yield f"{'order':50s} {'area':>5s} {'90 % interval':>14s} {'quarter':>8s}  learned is better"
    for name, values in orders.items():
        whole, quarter = area_under(values, mistakes)
        areas = np.array([area_under(values[some], mistakes[some])[0] for some in drawn])
        low, high = np.nanquantile(areas, [0.05, 0.95])
        share = "" if name == "LEARNED" else f"{np.nanmean(np.where(best == areas, 0.5, best > areas)):.2f}"
        yield f"{name:50s} {whole:5.3f} {low:6.3f} - {high:.3f} {quarter:8.3f}  {share}"


def simple_orders(pictures: Sequence[Picture], threshold: float) -> dict[str, Array]:
    scores = [np.array([each.score for each in shapes_from(picture, threshold)]) for picture in pictures]
    return {
        "random": np.zeros(len(pictures)),
        "number of shapes": np.array([float(len(each)) for each in scores]),
        "lowest score": np.array([1 - each.min() if len(each) else 0.0 for each in scores]),
        "entropy, sum": np.array([entropy(each).sum() for each in scores]),
        "entropy, mean": np.array([entropy(each).mean() if len(each) else 0.0 for each in scores]),
    }


def entropy(scores: Array) -> Array:
    scores = np.clip(scores, 1e-6, 1 - 1e-6)
    return -(scores * np.log2(scores) + (1 - scores) * np.log2(1 - scores))


def reported_order(pictures: Sequence[Picture], threshold: float, lowest: float) -> Array:
    """The expected corrections of a report without anything learned."""
    names = label_names(pictures)
    return expected([summary_of(n, each, names, threshold, lowest) for n, each in enumerate(pictures)], names)


def learned_order(
    pictures: Sequence[Picture],
    threshold: float,
    folds: Array,
    *,
    lowest: float | None = None,
    without: Sequence[str] = (),
    change: Change | None = None,
) -> Array:
    """The expected corrections of a report, each frame by what was learned from the other folds."""
    lowest = threshold / 2 if lowest is None else lowest
    names = label_names(pictures)
    seen = [each.found for each in pictures]
    if change is not None:
        seen = [change(each.found, each, number) for number, each in enumerate(pictures)]
    values = np.zeros(len(pictures))
    for fold in np.unique(folds):
        evidence = Evidence()
        for number in np.flatnonzero(folds != fold):
            picture = pictures[number]
            kept = [index for index, each in enumerate(picture.found) if each.score >= threshold]
            shapes = [shape_of(seen[number][index], names) for index in kept]
            right = match_objects(picture, threshold)[0]
            for each, is_right in zip(measure_uncertainty(shapes), right, strict=True):
                evidence.add(neutral_group(each, picture.size, names, without), is_right)
        calibration = neutral(fit_calibration(evidence), without)
        summaries = [
            summary_of(number, picture, names, threshold, lowest, calibration, seen[number])
            for number, picture in enumerate(pictures)
        ]
        values[folds == fold] = expected(summaries, names)[folds == fold]
    return values


def neutral_group(each: Any, size: tuple[int, int], names: Sequence[str], without: Sequence[str]) -> Any:
    """The group of a shape; what is left out is the same for all."""
    label = "" if "label" in without else names[each.label_id]
    share = 0.02 if "area" in without else area(each.box) / (size[0] * size[1])
    edge = "edge" not in without and is_at_edge(each.box, *size)
    return group_of(label, each.score, share, edge, 0.0 if "overlap" in without else each.iou)


def neutral(calibration: Calibration, without: Sequence[str]) -> Calibration:
    return calibration.model_copy(update={name: 0.0 for name in without if name != "label"})


def summary_of(
    number: int,
    picture: Picture,
    names: Sequence[str],
    threshold: float,
    lowest: float,
    calibration: Calibration | None = None,
    seen: Sequence[Found] | None = None,
) -> FrameSummary:
    both = list(zip(picture.found, picture.found if seen is None else seen, strict=True))
    written = [shape_of(now, names) for own, now in both if own.score >= threshold]
    unwritten = [shape_of(now, names) for own, now in both if lowest <= own.score < threshold]
    judge = None
    if calibration is not None:
        judge = calibration.of_labels(dict(enumerate(names))).on_image(*picture.size)
    return summarize_shapes(number, written, unwritten=unwritten, judge=judge)


def expected(summaries: Sequence[FrameSummary], names: Sequence[str]) -> Array:
    """The expected corrections of a report.

    Without the mean number of missed objects: it adds the same to each frame, and would differ by fold.
    """
    count = len(summaries)
    job = Job(id=1, task_id=1, start_frame=0, stop_frame=count - 1)
    values = np.zeros(count)
    labels = dict(enumerate(names))
    for item in rank_frames(FrameSummaries(summaries), labels=labels, jobs=[job], url="", max_frames=count):
        values[item.frame] = item.expected_corrections
    return values


def label_names(pictures: Sequence[Picture]) -> list[str]:
    return sorted({each.label for picture in pictures for each in picture.found})


def shape_of(found: Found, names: Sequence[str]) -> dict[str, Any]:
    label = names.index(found.label)
    return {"type": "rectangle", "label_id": label, "points": list(found.box), "score": found.score}


def mean_with_mirrored(found: list[Found], picture: Picture, _number: int) -> list[Found]:
    return agreed(found, [picture.mirrored])


def mean_with_neighbours(
    pictures: Sequence[Picture], found: list[Found], _picture: Picture, number: int
) -> list[Found]:
    near = [pictures[each].found for each in (number - 1, number + 1) if 0 <= each < len(pictures)]
    return agreed(found, near)


def agreed(found: list[Found], others: Sequence[list[Found]]) -> list[Found]:
    """Each shape with the mean of its score and those of the shapes in its place, 0 where there is none."""
    scores = [np.array([each.score for each in found])]
    for other in others:
        best = np.zeros(len(found))
        if found and other:
            same = np.array([each.label for each in found])[:, None] == [each.label for each in other]
            iou = box_iou(boxes(found), boxes(other)) * same
            best = ((iou >= 0.5) * np.array([each.score for each in other])).max(axis=1)
        scores.append(best)
    means = np.mean(scores, axis=0)
    return [Found(each.label, float(score), each.box) for each, score in zip(found, means, strict=True)]


def measure_speed(frames: int, shapes: int) -> None:
    """Rank frames by what is on them, with something learned, as a run does."""
    random = np.random.default_rng(0)
    names = [f"label {number}" for number in range(20)]
    probability = Calibration(bias=-0.5, score=2.0, area=0.1).of_labels(dict(enumerate(names)))
    summaries = FrameSummaries()
    seconds = 0.0
    for number in range(frames):
        corner = random.uniform(0, 1800, (shapes, 2))
        size = random.uniform(10, 120, (shapes, 2))
        points = np.concatenate([corner, corner + size], axis=1).tolist()
        found = [
            {"type": "rectangle", "label_id": index % 20, "points": box, "score": score}
            for index, (box, score) in enumerate(zip(points, random.random(shapes).tolist(), strict=True))
        ]
        started = time.process_time()
        half = shapes // 2
        judge = probability.on_image(1920, 1920)
        summaries.extend([summarize_shapes(number, found[:half], unwritten=found[half:], judge=judge)])
        seconds += time.process_time() - started
    started = time.process_time()
    job = Job(id=1, task_id=1, start_frame=0, stop_frame=frames - 1)
    rank_frames(
        summaries,
        labels=dict(enumerate(names)),
        jobs=[job],
        url="",
        max_frames=20,
        missed_per_frame=0.5,
    )
    seconds += time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{frames * shapes} shapes on {frames} frames ranked in {seconds:.1f} s of CPU; {peak:.0f} MB at most"
    )


if __name__ == "__main__":
    main()
