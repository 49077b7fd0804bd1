"""Association and assembly of long tasks: time for a frame, and whether memory grows with the frames.

Objects drift by, are seen for 100 to 400 frames each, with a jitter of half a pixel, and not at all on one
frame of twenty. Tracks are taken as they become complete, and thrown away. Peaks are those of tracemalloc,
which slows Python down by several times: time is measured in a run of its own.

    python benchmarks/tracks.py [--frames 1000 20000] [--objects 30]
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

from prefect_cvat.models import Job
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.detection_association import DetectionAssociator
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder

JOB = 1000
"""Frames of a job."""


def scene(frames: int, objects: int, seed: int = 0) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """What is seen frame after frame, with the number of each object."""
    rng = random.Random(seed)
    alive: list[list[float]] = []
    number = 0
    for frame in range(frames):
        alive = [thing for thing in alive if thing[1] > frame]
        while len(alive) < objects:
            number += 1
            lane = number % objects
            lasting = rng.randint(100, 400)
            alive.append([number, frame + lasting, frame, lane * 70.0, rng.uniform(0.5, 3)])
        shapes = []
        for own, _, begin, top, speed in alive:
            if rng.random() < 0.95:
                left = 100 + speed * (frame - begin)
                box = [left, top, left + 30, top + 60]
                points = [value + rng.gauss(0, 0.5) for value in box]
                shape = {
                    "type": "rectangle",
                    "label_id": 1,
                    "frame": frame,
                    "points": points,
                    "score": 0.9,
                    "rotation": 0.0,
                    "attributes": [],
                }
                shapes.append((int(own), shape))
        yield shapes


def run(frames: int, objects: int, job_length: int) -> tuple[int, int, int, float]:
    """Boxes, tracks, keyframes and seconds, but for those that the scene takes."""
    options = TrackOptions()
    starts = range(0, frames, job_length)
    jobs = [
        Job(id=start, task_id=1, start_frame=start, stop_frame=min(start + job_length, frames) - 1)
        for start in starts
    ]
    associator, assembler = DetectionAssociator(options), TrackBuilder(jobs, options, [])
    boxes = tracks = keyframes = 0
    seconds = 0.0
    for frame, seen in enumerate(scene(frames, objects)):
        started = time.perf_counter()
        items = associator.update(frame, [shape for _, shape in seen])
        assembler.add(frame, items)
        if frame == frames - 1:
            assembler.finish()
        complete = assembler.take()
        seconds += time.perf_counter() - started
        boxes += len(seen)
        tracks += len(complete)
        keyframes += sum(len(track["shapes"]) for _, track in complete)
    return boxes, tracks, keyframes, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--objects", type=int, default=30)
    parser.add_argument("--job", type=int, default=JOB)
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    run(50, 3, JOB)  # imports
    for frames in arguments.frames:
        boxes, tracks, keyframes, seconds = run(frames, arguments.objects, arguments.job)
        line = (
            f"{frames} frames: {boxes} boxes, {tracks} parts of tracks,"
            f" {keyframes / boxes:.3f} keyframes a box, {1000 * seconds / frames:.2f} ms a frame"
        )
        if not arguments.no_memory:
            tracemalloc.start()
            run(frames, arguments.objects, arguments.job)
            line += f", peak {tracemalloc.get_traced_memory()[1] / 2**20:.2f} MiB"
            tracemalloc.stop()
        print(line, flush=True)


if __name__ == "__main__":
    main()
