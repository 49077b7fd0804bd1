"""How good tracks are: the built-in NanoDet on a clip, against a reference that was checked by hand.

What is measured is what CVAT shows: the keyframes of the finished tracks, interpolated. A box counts as found
where it overlaps with a person's by half or more (intersection over union), as in the MOT challenge. The
overlap that is printed is the mean over all persons on all frames, 0 where nothing was found.

MOTA, IDF1 and the switches are py-motmetrics', which has nothing to do with the library that associates.
Its own function for overlaps no longer works with numpy 2, so these are computed here.

    python benchmarks/tracking_quality.py [--video ../shared/data/video/pedestrians.mp4]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.optimize import linear_sum_assignment

from prefect_cvat.auto_annotation import DetectionFunctionContext
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job
from prefect_cvat.options.track_options import Tracker, TrackOptions
from prefect_cvat.tracking.detection_association import DetectionAssociator
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "data" / "pedestrians-60.txt"
VIDEO = ROOT.parent / "shared" / "data" / "video" / "pedestrians.mp4"
FRAMES = 60

Shapes = Sequence[dict[str, Any]]
Boxes = dict[int, list[tuple[int, list[float]]]]


@dataclass(frozen=True)
class Quality:
    lengths: tuple[int, ...]
    switches: int
    mota: float
    idf1: float
    false_positives: int
    misses: int
    overlap: float
    keyframes_per_box: float


class Context(DetectionFunctionContext):
    frame_name = ""
    conf_threshold = 0.0
    conv_mask_to_poly = False

    def __init__(self, conf_threshold: float) -> None:
        self.conf_threshold = conf_threshold


def detect_persons(video: Path, conf_threshold: float, frames: int = FRAMES) -> list[Shapes]:
    """The persons that NanoDet finds on the first frames of a video, as CVAT's shapes."""
    function = nanodet_detection.create(device="cpu")
    [person] = [label.id for label in function.spec.labels if label.name == "person"]
    context = Context(conf_threshold)
    found = []
    with av.open(str(video)) as container:
        for number, picture in enumerate(container.decode(video=0)):
            if number == frames:
                break
            found.append(
                [
                    {
                        "type": "rectangle",
                        "label_id": 1,
                        "frame": number,
                        "points": list(shape.points),
                        "score": shape.score,
                        "rotation": 0.0,
                        "attributes": [],
                    }
                    for shape in function.detect(context, picture.to_image())
                    if shape.label_id == person
                ]
            )
    return found


def read_reference(path: Path = REFERENCE) -> Boxes:
    """The boxes of a file in the format of the MOT challenge, by frame from 0, each with its person."""
    boxes: Boxes = {}
    for line in path.read_text().splitlines():
        frame, person, *box = map(float, line.split(",")[:6])
        boxes.setdefault(int(frame) - 1, []).append((int(person), box))
    return boxes


def measure(found: Sequence[Shapes], options: TrackOptions, reference: Boxes) -> Quality:
    """Make tracks of what was found on every n-th frame and hold all frames of them against the reference."""
    associator = DetectionAssociator(options)
    job = Job(id=1, task_id=1, start_frame=0, stop_frame=len(found) - 1)
    assembler = TrackBuilder([job], options, [])
    boxes = 0
    for frame in range(0, len(found), options.step):
        items = associator.update(frame, found[frame])
        boxes += len(items)
        assembler.add(frame, items)
    assembler.finish()
    tracks = [track for _, track in assembler.take()]
    shown = [
        [(number, shape) for number, track in enumerate(tracks) if (shape := interpolate(track, frame))]
        for frame in range(len(found))
    ]
    numbers = [number for each in shown for number, _ in each]
    summary = _summary(reference, shown)
    return Quality(
        lengths=tuple(sorted((numbers.count(number) for number in set(numbers)), reverse=True)),
        switches=int(summary["num_switches"]),
        mota=float(summary["mota"]),
        idf1=float(summary["idf1"]),
        false_positives=int(summary["num_false_positives"]),
        misses=int(summary["num_misses"]),
        overlap=_mean_overlap(reference, shown),
        keyframes_per_box=sum(len(track["shapes"]) for track in tracks) / max(boxes, 1),
    )


def _summary(reference: Boxes, shown: Sequence[Sequence[tuple[int, dict[str, Any]]]]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what pandas is about to give up
        import motmetrics

        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for frame, each in enumerate(shown):
            persons = reference.get(frame, [])
            overlaps = _overlaps(persons, each)
            accumulator.update(
                [person for person, _ in persons],
                [number for number, _ in each],
                np.where(overlaps < 0.5, np.nan, 1 - overlaps),
            )
        names = ["mota", "idf1", "num_switches", "num_false_positives", "num_misses"]
        return motmetrics.metrics.create().compute(accumulator, metrics=names, name="all").iloc[0]


def _mean_overlap(reference: Boxes, shown: Sequence[Sequence[tuple[int, dict[str, Any]]]]) -> float:
    """Of each person with the box that goes best with it, no box with two."""
    total = 0.0
    for frame, each in enumerate(shown):
        overlaps = _overlaps(reference.get(frame, []), each)
        total += overlaps[linear_sum_assignment(overlaps, maximize=True)].sum()
    return float(total / sum(map(len, reference.values())))


def _overlaps(
    persons: Sequence[tuple[int, list[float]]], shapes: Sequence[tuple[int, dict[str, Any]]]
) -> Any:
    """Intersection over union of each person with each shape."""
    one = np.array([box for _, box in persons], dtype=float).reshape(-1, 1, 4)
    other = np.array([shape["points"] for _, shape in shapes], dtype=float).reshape(1, -1, 4)
    other[..., 2:] -= other[..., :2]
    stop = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    shared = np.clip(stop - np.maximum(one[..., :2], other[..., :2]), 0, None).prod(2)
    return shared / (one[..., 2:].prod(2) + other[..., 2:].prod(2) - shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--video", type=Path, default=VIDEO)
    parser.add_argument("--conf-threshold", type=float, default=0.4)
    arguments = parser.parse_args()
    reference = read_reference()
    found = detect_persons(arguments.video, arguments.conf_threshold)
    default = TrackOptions()
    print(f"reference: {len({p for boxes in reference.values() for p, _ in boxes})} persons,"
          f" {sum(map(len, reference.values()))} boxes; found: {sum(map(len, found))} boxes")  # fmt: skip
    for name, options in (
        ("default", default),
        ("step 2", replace(default, step=2)),
        *((f"step {step}", replace(default, step=step)) for step in (3, 4, 5, 6, 8)),
        ("fill_gap 0", replace(default, fill_gap=0)),
        ("fill_gap 30", replace(default, fill_gap=30)),
        ("activation 0.7", replace(default, activation=0.7)),
        ("sort", replace(default, tracker=Tracker.SORT)),
        ("ocsort", replace(default, tracker=Tracker.OCSORT)),
        *((f"tolerance {tolerance}", replace(default, tolerance=tolerance)) for tolerance in (0.5, 4, 8, 12)),
    ):
        quality = measure(found, options, reference)
        print(
            f"{name:15} {len(quality.lengths)} tracks {quality.lengths}, {quality.switches} switches,"
            f" MOTA {quality.mota:.3f}, IDF1 {quality.idf1:.3f}, {quality.misses} missed,"
            f" {quality.false_positives} false, overlap {quality.overlap:.3f},"
            f" {quality.keyframes_per_box:.2f} keyframes a box"
        )


if __name__ == "__main__":
    main()
