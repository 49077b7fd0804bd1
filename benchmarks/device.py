"""How well a device is fed: frames per second against what it could take, or what all cores decode.

The device is a stub that sleeps for each batch and does not use the processor. JPEGs of 1920x1080 are in
chunks that a server sends from files (`chunk_files.py`), which takes 1 % of the time of decoding them. In
one run: a bare loop decodes the same images on all cores, then `annotate_task` with devices of several
speeds, each side in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3
from servers import chunk_files, in_child, log_in, make_task, measured, photo, sandbox

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.media.untrusted_images import open_image, usable_cores

SIZE = (1920, 1080)
BATCH = 8


class StubDevice:
    """A detection function whose model takes its time for each image, and no processor."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1, type="rectangle")])
    batch_size = BATCH
    version = "1"

    def __init__(self, images_per_second: float) -> None:
        self.images_per_second = images_per_second

    def detect_batch(self, contexts: Any, images: Any) -> Any:
        """Wait as long as the device takes; the pixels are needed."""
        for image in images:
            image.load()
        time.sleep(len(images) / self.images_per_second)
        return [[rectangle(1, [10, 20, 110, 120])] for _ in contexts]


def decode_all(frames: int) -> None:
    """Decode as many images as the task has, on all cores."""
    photos = [photo(*SIZE, seed=seed) for seed in range(30)]

    def decode(number: int) -> None:
        open_image(io.BytesIO(photos[number % len(photos)]), "a photo").load()

    with ThreadPoolExecutor(usable_cores()) as threads:
        started = time.perf_counter()
        list(threads.map(decode, range(frames)))
        print(json.dumps({"wall": time.perf_counter() - started}))


def annotate(url: str, task_id: int, images_per_second: float) -> None:
    """Annotate the task with a device of some speed."""
    client = log_in(url)
    device = StubDevice(images_per_second)
    print(json.dumps(measured(lambda: annotate_task(client, task_id, device, use_cache=False))))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=360)
    parser.add_argument("--rates", type=float, nargs="+", default=[50, 200, 1000], help="images per second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *arguments = options.child
        if name == "decode":
            decode_all(int(arguments[0]))
        else:
            annotate(arguments[0], int(arguments[1]), float(arguments[2]))
        return
    rows: dict[float, list[dict[str, float]]] = {rate: [] for rate in options.rates}
    with sandbox() as sandbox_url, chunk_files(sandbox_url) as url:
        client = log_in(sandbox_url)
        task_id = make_task(client, options.frames, labels=["car"], size=SIZE)
        credentials = urllib3.make_headers(basic_auth="admin:admin")
        annotations = f"{sandbox_url}/api/tasks/{task_id}/annotations"
        in_child(sys.argv[0], "--child", "annotate", url, task_id, 1e6)  # the chunks are made, and kept
        for _ in range(options.rounds):
            bare = options.frames / in_child(sys.argv[0], "--child", "decode", options.frames)["wall"]
            for rate in options.rates:
                urllib3.request("DELETE", annotations, headers=credentials)
                found = in_child(sys.argv[0], "--child", "annotate", url, task_id, rate)
                rows[rate].append(
                    {**found, "bare": bare, "frames_per_second": options.frames / found["wall"]}
                )
    load = os.getloadavg()[0]
    print(f"{options.frames} JPEGs of {SIZE[0]}x{SIZE[1]}, {usable_cores()} cores, load {load:.1f}")
    print("| device, images/s | decoded on all cores | annotate_task | ratio | CPU ms/frame | MB |")
    print("|---|---|---|---|---|---|")
    results = {}
    for rate, found in rows.items():
        ratio = statistics.median(each["frames_per_second"] / min(rate, each["bare"]) for each in found)
        middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
        results[str(rate)] = {**middle, "ratio": ratio}
        print(
            f"| {rate:g} | {middle['bare']:.0f} | {middle['frames_per_second']:.0f} | {ratio:.2f} |"
            f" {1000 * middle['cpu'] / options.frames:.1f} | {middle['peak_mb']:.0f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
