"""How long evaluating a large task takes, and how much memory, in a process of its own.

    python benchmarks/evaluation_memory.py --frames 60000 --shapes 600000

A server that is made up tells of a task with so many frames, and with so many boxes of humans and as many of
runs on them; half of the latter are right. Measured is `evaluate_task`, and the choice of the worst frames.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from simulated_server import CHUNK_SIZE, peak_mib, serve, simulated_server, write_answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60_000)
    parser.add_argument("--shapes", type=int, default=600_000, help="how many shapes each side has")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefect-cvat-evaluation-") as folder:
        write_answers(Path(folder), arguments.frames, arguments.frames, CHUNK_SIZE)
        write_annotations(Path(folder), arguments.frames, arguments.shapes)
        with simulated_server(serve, folder) as measure:
            result = measure(evaluate)
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['truth']} objects: {result['seconds']:.1f} s ({result['cpu_seconds']:.1f} s of the"
            f" processor), {result['peak_mib']:.0f} MiB at the most,"
            f" {result['imported_mib']:.0f} of them before"
        )


def evaluate(url: str, answer: Connection) -> None:
    """Evaluate what runs have left, and send what it took."""
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.evaluation import evaluate_task
    from prefect_cvat.evaluation.report.worst_frames import rank_worst_frames

    imported = peak_mib()
    started, cpu_started = time.perf_counter(), time.process_time()
    with Client(url, access_token="none") as client:
        done = evaluate_task(client, 1)
    boxes = done.shapes["bbox"]
    worst = rank_worst_frames(done)
    answer.send(
        {
            "frames": done.frames,
            "truth": boxes.truth,
            "true_positives": boxes.true_positives,
            "false_positives": boxes.false_positives,
            "ap": boxes.ap,
            "confusion": boxes.confusion.counts,
            "worst": [(frame.frame, frame.mistakes, len(frame.shapes)) for frame in worst],
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu_started,
            "imported_mib": imported,
            "peak_mib": peak_mib(),
        }
    )


def write_annotations(folder: Path, frames: int, count: int) -> None:
    """Write boxes of humans and of runs, in the words of CVAT 2.73; every second one of a run is right."""
    chance = random.Random(0)
    with (folder / "annotations").open("w") as file:
        file.write('{"version":0,"tags":[],"shapes":[')
        for number in range(2 * count):
            of_frame, place = divmod(number, 2 * count // frames)
            is_found, place = place % 2, place // 2
            left, top = 6.0 * (place % 10), 6.0 * (place // 10 % 8)
            shift = 0.0 if not is_found else chance.choice([0.0, 0.5, 3.0, 3.0])
            shape = {
                "id": number + 1,
                "type": "rectangle",
                "frame": of_frame % frames,
                "label_id": 1,
                "group": 0,
                "source": "auto" if is_found else "manual",
                "occluded": False,
                "outside": False,
                "z_order": 0,
                "rotation": 0.0,
                "points": [left + shift, top, left + shift + 5.0, top + 5.0],
                "attributes": [],
                "elements": [],
                "score": round(chance.random(), 4) if is_found else 1.0,
            }
            file.write(("," if number else "") + json.dumps(shape, separators=(",", ":")))
        file.write('],"tracks":[]}')


if __name__ == "__main__":
    main()
