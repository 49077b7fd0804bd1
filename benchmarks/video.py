"""Videos: fetching and decoding through `annotate_task()` against a plain PyAV loop; memory of 4K.

    python benchmarks/video.py [--only speed memory] [--video FILE] [--rounds 15]

- speed: the chunks of a task, fetched and decoded by `annotate_task()` (with a function that finds nothing,
  so that nothing is written, and no cache), against `for frame in container.decode(video=0):
  frame.to_image()` over the same mp4 chunks, from disk. In one process, in pairs whose order alternates;
  before that every chunk is fetched once, because the sandbox makes it then.
- memory: peak of the process when a 3840x2160 video is annotated, with `detect` and with a `detect_batch` of
  8, and when it is read backwards; and, for what the libraries take, when a small one is.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
from servers import in_child, log_in, measured, sandbox

from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec

PARTS = ("speed", "memory")
SPEC = DetectionFunctionSpec(labels=[label_spec("car", 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--video", type=Path, help="an mp4 for the speed; without it, noise that moves")
    parser.add_argument("--repeat", type=int, default=4, help="how many times the video is played")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        part, *rest = arguments.child
        print(json.dumps(make_child(*rest) if part == "make" else memory_child(*rest)))
        return
    with sandbox() as url:
        if "memory" in arguments.only:
            memory(url)  # first: a child's peak begins at what its parent takes
        if "speed" in arguments.only:
            data = arguments.video.read_bytes() if arguments.video else moving_noise(768, 576, 150)
            speed(url, repeated(data, arguments.repeat), arguments.rounds)


def speed(url: str, data: bytes, rounds: int) -> None:
    client = log_in(url)
    task_id = make_video_task(client, data)
    meta = client.meta(task_id)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in range(-(-meta.size // meta.chunk_size)):
            paths.append(Path(folder) / f"{number}.mp4")
            with paths[-1].open("w+b") as file:
                client.chunk(task_id, number, file)
        frame = meta.frames[0]
        print(
            f"speed: {meta.size} frames of {frame.width}x{frame.height}, {len(paths)} chunks, {rounds} rounds"
        )
        sides = {
            "ours": lambda: ours(client, task_id, meta.size),
            "loop": lambda: loop(paths, meta.size, None),
            "loop, AUTO threads": lambda: loop(paths, meta.size, "AUTO"),
        }
        results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for number in range(rounds + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            for side in order:
                result = measured(sides[side])
                if number:  # the first round warms up
                    results[side].append(result)
    for side, values in results.items():
        print(f"  {side:<20} {spread([value['wall'] for value in values], 's wall')}")
    for side in ("loop", "loop, AUTO threads"):
        for what in ("wall", "cpu"):
            ratios = [one[what] / two[what] for one, two in zip(results["ours"], results[side], strict=True)]
            print(f"  ours / {side:<20} {spread(ratios, what)}")


def ours(client: Client, task_id: int, frames: int) -> None:
    report = annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=nothing), use_cache=False)
    assert report.frames == frames


def loop(paths: list[Path], frames: int, thread_type: str | None) -> None:
    import av

    seen = 0
    for path in paths:
        with av.open(str(path)) as container:
            if thread_type is not None:
                container.streams.video[0].thread_type = thread_type
            for frame in container.decode(video=0):
                frame.to_image()
                seen += 1
    assert seen == frames


def nothing(context: Any, image: PIL.Image.Image) -> list[Any]:
    return []


def memory(url: str) -> None:
    print("memory: peak of the process")
    tasks = {
        f"{width}x{height}": round(in_child(__file__, "--child", "make", url, width, height)["task"])
        for width, height in ((160, 120), (3840, 2160))
    }
    for size, task_id in tasks.items():
        for how in ("detect", "detect_batch", "backwards"):
            result = in_child(__file__, "--child", "memory", url, task_id, how)
            print(
                f"  72 frames of {size:<10} {how:<13} {result['peak_mb']:6.0f} MB"
                f"   wall {result['wall']:5.1f} s"
            )


def make_child(url: str, width: str, height: str) -> dict[str, float]:
    client = log_in(url)
    task_id = make_video_task(client, moving_noise(int(width), int(height), 72))
    for number in range(2):  # the sandbox makes the chunks now
        client.chunk(task_id, number, io.BytesIO())
    return {"task": task_id}


def memory_child(url: str, task_id: str, how: str) -> dict[str, float]:
    client = log_in(url)
    if how == "backwards":
        return measured(lambda: read_backwards(client, int(task_id)))

    def detect(context: Any, image: PIL.Image.Image) -> list[Any]:
        time.sleep(0.05)  # so that reading gets ahead
        return []

    def detect_batch(contexts: list[Any], images: list[PIL.Image.Image]) -> list[list[Any]]:
        time.sleep(0.4)
        return [[] for _ in images]

    function = SimpleNamespace(
        spec=SPEC, **({"detect": detect} if how == "detect" else {"detect_batch": detect_batch})
    )
    return measured(lambda: annotate_task(client, int(task_id), function, use_cache=False))


def read_backwards(client: Client, task_id: int) -> None:
    from prefect_cvat.frames import ChunkBatch
    from prefect_cvat.media.chunk_download import fetch_chunk
    from prefect_cvat.media.frame_reader import open_frames_reversed
    from prefect_cvat.planning.plan import make_plan, read_task

    plan = make_plan(read_task(client, task_id))
    with tempfile.TemporaryDirectory() as folder:
        box = ChunkBatch([fetch_chunk(client, plan, number, Path(folder)) for number, _ in plan.chunks()])
        with closing(open_frames_reversed(box, plan.frames)) as opened:
            for _ in opened:
                time.sleep(0.05)


def make_video_task(client: Client, data: bytes) -> int:
    task = client.create_task("benchmark", [label_spec("car", None)])
    client.upload_images(task.id, {"clip.mp4": data})
    return task.id


def moving_noise(width: int, height: int, frames: int) -> bytes:
    """An mp4 of smooth noise that moves by some pixels a frame."""
    import av

    random = np.random.default_rng(0)
    small = random.integers(0, 255, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8)
    scene = PIL.Image.fromarray(small).resize((width + 64, height + 64), PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for index in range(frames):
            x, y = index % 64, index // 2 % 64
            picture = scene.crop((x, y, x + width, y + height))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return buffer.getvalue()


def repeated(data: bytes, times: int) -> bytes:
    """The same mp4 several times in a row, without encoding it anew."""
    import av

    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as container, av.open(buffer, "w", format="mp4") as output:
        source = container.streams.video[0]
        stream = output.add_stream_from_template(source)
        packets = [packet for packet in container.demux(source) if packet.dts is not None]
        length = max(packet.pts for packet in packets) + packets[-1].duration
        for index in range(times):
            container.seek(0, stream=source)
            for packet in container.demux(source):
                if packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + index * length, packet.dts + index * length
                    packet.stream = stream
                    output.mux(packet)
    return buffer.getvalue()


def spread(values: list[float], unit: str) -> str:
    return f"{min(values):.3f} - {statistics.median(values):.3f} - {max(values):.3f} {unit}"


if __name__ == "__main__":
    main()
