"""Tracks of a long task, from fetching to writing: peak memory of the process, and time.

30 objects a frame drift over pictures of 768x576, each for 150 to 440 frames, with half a pixel of jitter.
The function takes them from the frame's number and costs next to nothing: all time is the pipeline's.

    python benchmarks/track_task.py [--frames 1000 20000]
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from servers import in_child, log_in, make_task, measured, sandbox

OBJECTS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--segment-size", type=int, default=1000, help="frames of a job; 0: the whole task")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        url, task_id = arguments.child
        print(json.dumps(track(url, int(task_id))))
        return
    with sandbox() as url:
        peaks = []
        for frames in arguments.frames:
            fields = {"segment_size": arguments.segment_size, "overlap": 5} if arguments.segment_size else {}
            task_id = make_task(log_in(url), frames, labels=["car"], **fields)
            result = in_child(__file__, "--child", url, task_id)
            peaks.append(result["peak_mb"])
            print(
                f"{frames:6d} frames   {result['boxes']:.0f} boxes   {result['tracks']:.0f} tracks"
                f"   {result['keyframes'] / result['boxes']:.3f} keyframes a box"
                f"   peak {result['peak_mb']:.0f} MB   wall {result['wall']:.1f} s"
                f"   cpu {result['cpu']:.1f} s",
                flush=True,
            )
        first, last = arguments.frames[0], arguments.frames[-1]
        print(f"growth from {first} to {last} frames: {peaks[-1] / peaks[0] - 1:.1%}")


def track(url: str, task_id: int) -> dict[str, float]:
    from prefect_cvat import track_task

    reports: list[Any] = []
    client = log_in(url)
    result = measured(lambda: reports.append(track_task(client, task_id, drifting(), use_cache=False)))
    [report] = reports
    return {
        **result,
        "boxes": sum(report.labels.values()),
        "tracks": sum(report.tracks.values()),
        "keyframes": report.keyframes,
    }


def drifting() -> Any:
    """A function that finds the same objects on each frame, whatever is on it."""
    from prefect_cvat import auto_annotation as aa

    class Drifting:
        spec = aa.DetectionFunctionSpec(labels=[aa.label_spec("car", 1, type="rectangle")])

        def detect(self, context: Any, image: Any) -> Any:
            number = int(Path(context.frame_name).stem)
            rng = random.Random(number)
            found = []
            for lane in range(OBJECTS):
                left = 10 + (number % (150 + 10 * lane)) * (1.5 + lane % 3 / 10)
                top = 4 + 18.5 * lane
                box = [left, top, left + 40, top + 16]
                found.append(aa.rectangle(1, [value + rng.gauss(0, 0.5) for value in box], score=0.9))
            return found

    return Drifting()


if __name__ == "__main__":
    main()
