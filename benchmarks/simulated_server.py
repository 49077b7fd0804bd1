"""A simulated server with a large task, and runs on it, each in a process of its own.

The server has a task of tiny images, each with a name of its own, and answers like CVAT 2.73. Its answers are
written to a folder first, so the measured process holds none of them.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["CHUNK_SIZE", "Measure", "peak_mib", "serve", "simulated_server", "write_answers"]

CHUNK_SIZE = 36

Measure = Callable[..., dict[str, Any]]
"""Calls a function in a process, with the URL of the server, further arguments, and a pipe for the result."""


@contextmanager
def simulated_server(serve: Callable[..., None], *arguments: Any) -> Iterator[Measure]:
    """Run a server in a process, and yield what calls functions in further processes.

    Args:
        serve: Serves until it is killed; gets the arguments, and a pipe that it sends its port to.
        arguments: The arguments.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would begin with the memory of its parent
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(*arguments, theirs), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}"

        def measure(work: Callable[..., None], *further: Any) -> dict[str, Any]:
            child = spawn.Process(target=work, args=(url, *further, theirs))
            child.start()
            while child.is_alive() and not ours.poll(1):
                pass
            if not ours.poll():
                raise ChildProcessError(f"{work.__name__} ended without a result")
            result: dict[str, Any] = ours.recv()
            child.join()
            return result

        yield measure
    finally:
        server.kill()
        server.join()


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
