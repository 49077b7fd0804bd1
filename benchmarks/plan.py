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
import multiprocessing
import resource
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CHUNK_SIZE = 36


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--job-frames", type=int, default=1000, help="how many frames a job has")
    parser.add_argument("--chunk-size", type=int, default=CHUNK_SIZE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")  # a fork would begin with the memory of its parent
    ours, theirs = spawn.Pipe()
    with tempfile.TemporaryDirectory(prefix="prefect-cvat-plan-") as folder:
        write_answers(Path(folder), arguments.frames, arguments.job_frames, arguments.chunk_size)
        server = spawn.Process(target=serve, args=(folder, theirs), daemon=True)
        server.start()
        try:
            port = ours.recv()
            child = spawn.Process(target=plan, args=(f"http://127.0.0.1:{port}", theirs))
            child.start()
            result = ours.recv()
            child.join()
        finally:
            server.kill()
            server.join()
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
        taken = take_parts(parts, size.most(len(made.frames)))
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


def peak_mib() -> float:
    """The most memory that this process has had, without what a program before it had in its place."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def write_answers(folder: Path, frames: int, job_frames: int, chunk_size: int) -> None:
    """Write what the server says of the task, in the words of CVAT 2.73."""
    task = {
        "id": 1,
        "name": "a million",
        "size": frames,
        "data_chunk_size": chunk_size,
        "data_original_chunk_type": "imageset",
        "dimension": "2d",
        "mode": "annotation",
    }
    (folder / "task").write_text(json.dumps(task))
    with (folder / "meta").open("w") as file:
        head = {"chunks_updated_date": "2026-11-01T10:00:00Z", "chunk_size": chunk_size, "size": frames}
        head |= {"start_frame": 0, "stop_frame": frames - 1, "frame_filter": ""}
        file.write(json.dumps(head)[:-1] + ',"frames":[')
        for number in range(frames):
            frame = {"width": 64, "height": 48, "name": f"camera_1/image_{number:07}.jpg"}
            frame |= {"related_files": 0, "has_related_context": False}
            file.write(("," if number else "") + json.dumps(frame, separators=(",", ":")))
        file.write('],"deleted_frames":[]}')
    jobs = [
        {"id": 1 + first // job_frames, "task_id": 1, "type": "annotation", "start_frame": first}
        | {"stop_frame": min(first + job_frames, frames) - 1}
        for first in range(0, frames, job_frames)
    ]
    pages = [jobs[first : first + 500] for first in range(0, len(jobs), 500)]
    for number, page in enumerate(pages, start=1):
        following = "more" if number < len(pages) else None
        (folder / f"jobs-{number}").write_text(json.dumps({"results": page, "next": following}))
    labels: list[Any] = [{"id": 1, "name": "car", "type": "any"}]
    (folder / "labels").write_text(json.dumps({"results": labels, "next": None}))
    (folder / "layout").write_text(json.dumps({"mode": None}))
    (folder / "about").write_text(json.dumps({"version": "2.73.0"}))


def serve(folder: str, answer: Connection) -> None:
    """Serve what is in the folder, and send the port."""
    paths = {
        "/api/server/about": "about",
        "/api/tasks/1": "task",
        "/api/tasks/1/data/meta": "meta",
        "/api/tasks/1/validation_layout": "layout",
        "/api/labels": "labels",
        "/api/tasks/1/annotations": "annotations",
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            fields = dict(field.split("=") for field in query.split("&") if field)
            name = f"jobs-{fields['page']}" if path == "/api/jobs" else paths[path]
            file = Path(folder) / name
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.cvat+json")
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as content:
                while block := content.read(2**20):
                    self.wfile.write(block)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answer.send(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
