"""How true boxes are: against the silhouettes of persons that walk alone.

The camera of the clip stands still, so that what differs from the median of its frames are the persons. This
knows nothing of any detector. Compared are silhouettes that NanoDet's box overlaps with by 0.7 or more, which
leaves out persons that touch one another.

    python benchmarks/silhouettes.py [--video ../shared/data/video/pedestrians.mp4]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from tracking_quality import FRAMES, VIDEO, detect_persons

from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.detection_association import DetectionAssociator
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder

DIFFERENCE = 28
"""By how much a pixel differs from the background in one of its colours."""

LEAST_AREA = 500

Boxes = dict[int, list[list[float]]]


def silhouettes(video: Path) -> Boxes:
    """The boxes around what moves, by frame."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    background = np.median(frames[::10], axis=0).astype(np.int16)
    boxes = {}
    for number, frame in enumerate(frames[:FRAMES]):
        mask = (np.abs(frame.astype(np.int16) - background).max(2) > DIFFERENCE).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 5), np.uint8))
        _, _, parts, _ = cv2.connectedComponentsWithStats(mask)
        boxes[number] = [[x, y, x + w, y + h] for x, y, w, h, area in parts[1:].tolist() if area > LEAST_AREA]
    return boxes


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width, height = (max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def assemble(seen: dict[int, list[tuple[int, Any]]], options: TrackOptions) -> list[dict[str, Any]]:
    assembler = TrackBuilder([Job(id=1, task_id=1, start_frame=0, stop_frame=FRAMES - 1)], options, [])
    for frame in range(FRAMES):
        assembler.add(frame, seen.get(frame, []))
    assembler.finish()
    return [track for _, track in assembler.take()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--video", type=Path, default=VIDEO)
    arguments = parser.parse_args()
    truth = silhouettes(arguments.video)
    associator = DetectionAssociator(TrackOptions())
    seen = {
        frame: associator.update(frame, shapes)
        for frame, shapes in enumerate(detect_persons(arguments.video, 0.4))
    }
    pairs = [
        (frame, number, shape, box)
        for frame, items in seen.items()
        for number, shape in items
        for box in truth[frame]
        if overlap(shape["points"], box) > 0.7
    ]
    print(f"{len(pairs)} silhouettes of {len({number for _, number, _, _ in pairs})} tracks")
    alone: dict[int, list[tuple[int, Any]]] = {}
    for frame, number, shape, box in pairs:
        alone.setdefault(frame, []).append((number, {**shape, "points": box}))
    exactly = assemble(alone, TrackOptions(min_length=1))
    keyframes = sum(not shape["outside"] for track in exactly for shape in track["shapes"])
    print(f"the silhouettes themselves: {keyframes / len(pairs):.2f} keyframes a box at 2 pixels")
    tracks = assemble(seen, TrackOptions(min_length=1, tolerance=0))
    boxes = []
    for frame, _, shape, box in pairs:
        shown = [each["points"] for track in tracks if (each := interpolate(track, frame))]
        # The one of the same track is the one that is nearest to where it was detected.
        boxes.append((max(shown, key=lambda each: overlap(each, shape["points"])), box))
    widths = np.array([[one[2] - one[0], other[2] - other[0]] for one, other in boxes])
    print(
        f"overlap {np.mean([overlap(*pair) for pair in boxes]):.3f},"
        f" correlation of widths {np.corrcoef(widths.T)[0, 1]:.2f}"
    )


if __name__ == "__main__":
    main()
