"""How much memory and time runs take on a task of many frames and annotations, each in its own process.

    python benchmarks/memory.py annotate replace_auto --frames 20000 --per-frame 30

A server that is made up, in a process of its own, serves a task of tiny images, keeps what is written to its
jobs, and tells it again; everything goes over HTTP. The kinds of runs:

- `annotate`: each frame gets so many rectangles
- `skip_existing`: the same, where the task holds tracks that humans have drawn (`--tracks`, `--keyframes`)
- `refined`: the same, where the task holds a mask of source `auto` for each of them
- `replace_auto`: the same, where the task holds as many of source `auto`, which go
- `track`: so many objects on each frame become tracks, `--keyframes` frames long each
- `refine`: the task holds so many rectangles on each frame, which become polygons
- `track_shapes`: the same rectangles are source shapes of tracks
- `failing`: the function fails on every frame but the first
- `export`, `export_yolo`: what is in the task becomes a dataset, without images
- `undo`: what `annotate` has added is taken back
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulated_server import peak_mib, simulated_server, write_answers

CHUNK_SIZE = 500
WIDTH, HEIGHT = 64, 48
KINDS = (
    *("annotate", "skip_existing", "refined", "replace_auto", "track", "refine", "track_shapes", "failing"),
    *("export", "export_yolo", "undo"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--job-frames", type=int, help="how many frames a job has; by default all")
    parser.add_argument("--per-frame", type=int, default=10, help="how many annotations a frame has")
    parser.add_argument("--tracks", type=int, default=2000)
    parser.add_argument("--keyframes", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each kind")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        result = measure(kind, arguments)
        if arguments.json:
            print(json.dumps(result), flush=True)
        else:
            print(
                f"{kind}: {result['frames']} frames, {result['annotations']} annotations:"
                f" {result['seconds']:.0f} s ({result['cpu_seconds']:.1f} s of the processor),"
                f" {result['peak_mib']:.0f} MiB at the most,"
                f" {result['imported_mib']:.0f} of them before",
                flush=True,
            )


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Do one run in a process of its own, and return what it took."""
    with tempfile.TemporaryDirectory(prefix="prefect-cvat-memory-") as folder:
        write_answers(Path(folder), arguments.frames, arguments.job_frames or arguments.frames, CHUNK_SIZE)
        with simulated_server(serve, folder, kind, arguments) as run_in_process:
            if kind == "undo":
                run_in_process(run, "annotate", arguments, folder)
            return run_in_process(run, kind, arguments, folder)


def run(url: str, kind: str, arguments: argparse.Namespace, folder: str, answer: Connection) -> None:
    """Do a run, and send what it took."""
    home = Path(folder) / "home"
    os.environ |= {
        "PREFECT_CVAT_RUNS_DIR": str(home / "runs"),
        "PREFECT_CVAT_CACHE_DIR": str(home / "cache"),
        "PREFECT_CVAT_LATE_COMMIT_SECONDS": "0.1",
        "PREFECT_CVAT_STALE_READ_SECONDS": "0",
    }
    import PIL.Image

    from prefect_cvat import Client, annotate_task, refine_task, track_task
    from prefect_cvat.auto_annotation import (
        DetectionFunctionSpec,
        InteractionFunctionSpec,
        InteractionResultShape,
        TrackableShape,
        TrackingFunctionSpec,
        label_spec,
        rectangle,
    )
    from prefect_cvat.export import export_task
    from prefect_cvat.options.run_options import Options
    from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
    from prefect_cvat.options.track_options import TrackOptions
    from prefect_cvat.upload.undo_annotations import undo_run

    class Boxes:
        """The same boxes on each image."""

        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])

        def __init__(self) -> None:
            self.frames = 0

        def detect(self, context: Any, image: PIL.Image.Image) -> list[Any]:
            self.frames += 1
            if kind == "failing" and self.frames > 1:
                raise ValueError(
                    f"{context.frame_name} is nothing that this function can look at" + "!" * 300
                )
            if kind == "track":
                # all objects are others after so many frames, and lie where none was before
                top = 25.0 * (self.frames // arguments.keyframes % 2)
                return [
                    rectangle(0, [4.0 * i, top, 4.0 * i + 2, top + 20]) for i in range(arguments.per_frame)
                ]
            return [rectangle(0, box(i)) for i in range(arguments.per_frame)]

    class Triangles:
        """A triangle in each box."""

        spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)

        def detect(self, context: Any, image: PIL.Image.Image, prompts: Any) -> list[Any]:
            (x1, y1), (x2, y2) = prompts.bounding_box
            return [InteractionResultShape(type="polygon", points=[x1, y1, x2, y1, x2, y2])]

    class Stay:
        """What is followed stays where it is, for a frame."""

        spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})

        def init_tracking_state(self, context: Any, image: Any, shape: Any) -> Any:
            return SimpleNamespace(shape=shape, left=1)

        def track(self, context: Any, image: Any, state: Any) -> Any:
            state.left -= 1
            return None if state.left < 0 else TrackableShape(type="rectangle", points=state.shape.points)

    imported = peak_mib()
    started = time.perf_counter()
    used_before = time.process_time()
    count = 0
    with Client(url, access_token="none") as client:
        if kind in ("annotate", "skip_existing", "replace_auto", "refined", "failing"):
            options: dict[str, Any] = {}
            if kind == "skip_existing":
                options = {"skip_existing_iou": 0.9}
            elif kind == "replace_auto":
                options = {"existing": "replace_auto"}
            elif kind == "failing":
                options = {"on_frame_error": "skip"}
            report = annotate_task(client, 1, Boxes(), use_cache=False, **options)
            count = sum(report.labels.values())
            (Path(folder) / "run").write_text(report.run)
        elif kind == "track":
            report = track_task(
                client, 1, Boxes(), use_cache=False, track_options=TrackOptions(max_gap=2, min_length=1)
            )
            count = sum(report.tracks.values())
        elif kind == "refine":
            report = refine_task(client, 1, Triangles(), to="polygon")
            count = report.refined
        elif kind == "track_shapes":
            report = track_task(client, 1, Stay(), shape_tracking_options=ShapeTrackingOptions())
            count = report.source_shapes
        elif kind in ("export", "export_yolo"):
            form = "yolo" if kind == "export_yolo" else "coco"
            done = export_task(
                client, 1, folder=Path(folder) / "dataset", format=form, images=False, options=Options()
            )
            count = sum(done.labels.values())
        elif kind == "undo":
            count = undo_run(client, (Path(folder) / "run").read_text()).removed
    answer.send(
        {
            "kind": kind,
            "frames": arguments.frames,
            "annotations": count,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - used_before,
            "imported_mib": imported,
            "peak_mib": peak_mib(),
        }
    )


def box(number: int) -> list[float]:
    """Where an object is, by its number on the frame."""
    x, y = number % 10 * 6.0, number // 10 % 6 * 8.0
    return [x, y, x + 4.0 + number // 60 * 0.01, y + 6.0]


# --- the server ---


class Job:
    """What a job holds: the JSON of each annotation by its id."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.held: dict[str, dict[int, bytes]] = {"tags": {}, "shapes": {}, "tracks": {}}
        self.version = 0


def held_before(kind: str, job: Job, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a job holds before the run."""
    shape = {"type": "rectangle", "label_id": 1, "occluded": False, "outside": False, "z_order": 0}
    shape |= {"rotation": 0.0, "group": 0, "attributes": [], "elements": [], "score": 1.0}
    if kind == "skip_existing":
        length = job.last - job.first + 1
        for number in range(arguments.tracks):
            keyframes = sorted(
                {job.first + i * length // arguments.keyframes for i in range(arguments.keyframes)}
            )
            shapes = [
                {"type": "rectangle", "frame": frame, "occluded": False, "outside": False, "z_order": 0}
                | {"rotation": 0.0, "attributes": [], "points": box(number % 3)}
                for frame in keyframes
            ]
            yield (
                "tracks",
                {"frame": keyframes[0], "label_id": 1, "group": 0, "source": "manual", "attributes": []}
                | {"shapes": shapes, "elements": []},
            )
    if kind not in ("replace_auto", "refine", "track_shapes", "export", "export_yolo", "refined"):
        return
    for frame in range(job.first, job.last + 1):
        for number in range(arguments.per_frame):
            x1, y1, x2, y2 = box(number)
            each = {**shape, "frame": frame, "points": [x1, y1, x2, y2], "source": "manual"}
            if kind == "replace_auto":
                each |= {"source": "auto", "points": [x1, y1, x2, y2 - 1]}
            elif kind == "refined":
                each |= {"source": "auto", "type": "polygon", "points": [x1, y1, x2, y1, x2, y2]}
            yield "shapes", each


def serve(folder: str, kind: str, arguments: argparse.Namespace, answer: Connection) -> None:
    """Serve the task, and send the port."""
    size = arguments.job_frames or arguments.frames
    jobs = {
        1 + first // size: Job(first, min(first + size, arguments.frames) - 1)
        for first in range(0, arguments.frames, size)
    }
    next_id = 1
    for job in jobs.values():
        for of_kind, annotation in held_before(kind, job, arguments):
            job.held[of_kind][next_id] = json.dumps(
                {"id": next_id, **annotation}, separators=(",", ":")
            ).encode()
            next_id += 1
    image = _image()
    chunks = {
        length: _chunk(image, length) for length in {CHUNK_SIZE, arguments.frames % CHUNK_SIZE} if length
    }
    paths = {
        "/api/server/about": "about",
        "/api/tasks/1": "task",
        "/api/tasks/1/data/meta": "meta",
        "/api/tasks/1/validation_layout": "layout",
        "/api/labels": "labels",
    }
    ids = iter(range(next_id, 2**40))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            fields = dict(field.split("=") for field in query.split("&") if field)
            if path == "/api/jobs":
                self._send((Path(folder) / f"jobs-{fields['page']}").read_bytes())
            elif path == "/api/tasks/1/data":
                first = int(fields["number"]) * CHUNK_SIZE
                self._send(chunks[min(CHUNK_SIZE, arguments.frames - first)], "application/zip")
            elif path == "/api/tasks/1/annotations":
                self._send_held(list(jobs.values()))
            elif found := re.fullmatch(r"/api/jobs/(\d+)/annotations", path):
                self._send_held([jobs[int(found[1])]])
            elif found := re.fullmatch(r"/api/jobs/(\d+)", path):
                job = jobs[int(found[1])]
                told = {"id": int(found[1]), "task_id": 1, "type": "annotation", "start_frame": job.first}
                date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1.7e9 + job.version))
                self._send(json.dumps({**told, "stop_frame": job.last, "updated_date": date}).encode())
            elif path in paths:
                self._send((Path(folder) / paths[path]).read_bytes())
            else:
                self._send(b'{"detail": "Not found."}', status=404)

        def do_PATCH(self) -> None:
            path, _, query = self.path.partition("?")
            job = jobs[int(path.split("/")[3])]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            job.version += 1
            for name, held in job.held.items():
                for annotation in body.get(name, ()):
                    if query.endswith("delete"):
                        held.pop(annotation["id"], None)
                    else:
                        annotation["id"] = next(ids)
                        held[annotation["id"]] = json.dumps(annotation, separators=(",", ":")).encode()
            self._send(json.dumps({"version": 0, "tags": [], "shapes": [], "tracks": [], **body}).encode())

        def _send_held(self, held_by: list[Job]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.cvat+json")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            self.wfile.write(b'{"version":0')
            for name in ("tags", "shapes", "tracks"):
                self.wfile.write(b',"%b":[' % name.encode())
                lines = [line for job in held_by for line in job.held[name].values()]
                for start in range(0, len(lines), 1000):
                    self.wfile.write(b"," * bool(start) + b",".join(lines[start : start + 1000]))
                self.wfile.write(b"]")
            self.wfile.write(b"}")

        def _send(
            self, body: bytes, content_type: str = "application/vnd.cvat+json", status: int = 200
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that goes has ended its run."""

    server = Server(("127.0.0.1", 0), Handler)
    answer.send(server.server_port)
    server.serve_forever()


def _image() -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.new("L", (WIDTH, HEIGHT)).save(buffer, "PNG")
    return buffer.getvalue()


def _chunk(image: bytes, length: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(length):
            archive.writestr(f"{number:06}.png", image)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
