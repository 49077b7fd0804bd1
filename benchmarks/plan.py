"""How long planning takes, and how much memory, in a process of its own.

    python benchmarks/plan.py --frames 1000000 --job-frames 1000

A server that is made up tells of a task of so many images, each with a name of its own; everything goes
over HTTP. What is measured is `read_task`, `make_plan`, and cutting all of it into batches with a look for
the chunk and the jobs of each, as a run does it. The answers of the server are made beforehand, on disk, and
served by a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from simulated_server import CHUNK_SIZE, peak_mib, serve, simulated_server, write_answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--job-frames", type=int, default=1000, help="how many frames a job has")
    parser.add_argument("--chunk-size", type=int, default=CHUNK_SIZE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefect-cvat-plan-") as folder:
        write_answers(Path(folder), arguments.frames, arguments.job_frames, arguments.chunk_size)
        with simulated_server(serve, folder) as measure:
            result = measure(plan)
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['frames']} frames in {result['jobs']} jobs: {result['seconds']:.1f} s"
            f" ({result['cpu_seconds']:.1f} s of the processor), {result['peak_mib']:.0f} MiB at the most,"
            f" {result['imported_mib']:.0f} of them before; {result['batches']} batches of up to"
            f" {result['largest_batch']} frames"
        )


def plan(url: str, answer: Connection) -> None:
    """Plan, and send what it took."""
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.planning.batch_size import BatchSize, PartQueue, take_parts
    from prefect_cvat.planning.plan import Batch, make_plan, read_task

    imported = peak_mib()
    started, cpu_started = time.perf_counter(), time.process_time()
    with Client(url, access_token="none") as client:
        made = make_plan(read_task(client, 1))
    size = BatchSize()
    size.learn(0.001, 100)  # as a quick function would have it
    batches = largest = 0
    parts = PartQueue(made.parts())
    while parts.first is not None:
        taken = take_parts(parts, size.max_frames(len(made.frames)))
        batch = Batch(batches, [number for number, _ in taken], [f for _, frames in taken for f in frames])
        for number in batch.chunks:
            made.chunk_place(number)
        made.jobs_between(batch.frames[0].number, batch.frames[-1].number)
        batches += 1
        largest = max(largest, len(batch.frames))
    answer.send(
        {
            "frames": len(made.frames),
            "jobs": len(made.jobs),
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu_started,
            "imported_mib": imported,
            "peak_mib": peak_mib(),
            "batches": batches,
            "largest_batch": largest,
        }
    )


if __name__ == "__main__":
    main()
