"""How quick the gateway is, with stub functions that sleep as a device would.

The gateway runs in a process of its own, and is called over HTTP as CVAT calls it. Five figures:
its overhead for a 1080p JPEG; eight annotators at once; the second click on a frame; the list of 1,000
functions; and its memory over many calls.

    python benchmarks/gateway.py --calls 20000
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import PIL.Image

from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    TrackableShape,
    TrackingFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.gateway import Gateway, GatewayConfiguration

SECRET = "secret-of-the-benchmark"
SLEEP = 0.02
FIRST, FURTHER = 0.05, 0.01
PREPARING, PROMPTING = 0.5, 0.02


class OneImage:
    """Reads the pixels of an image and sleeps 20 ms."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def detect(self, context: Any, image: Any) -> list[Any]:
        image.load()
        time.sleep(SLEEP)
        return [rectangle(1, [1, 2, 30, 40], score=0.9)]


class Batches:
    """50 ms for an image, 10 ms for each further one."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    batch_size = 8

    def detect_batch(self, contexts: Any, images: Sequence[Any]) -> list[Any]:
        time.sleep(FIRST + FURTHER * (len(images) - 1))
        # the right edge says how many images were in the batch
        return [[rectangle(1, [0, 0, len(images), 40], score=0.9)] for _ in images]


class Clicks:
    """Prepares an image in 500 ms, and answers a prompt in 20 ms."""

    spec = InteractionFunctionSpec(min_pos_points=1, min_neg_points=0)

    def __init__(self, preparing: float = PREPARING, prompting: float = PROMPTING) -> None:
        self.preparing, self.prompting = preparing, prompting

    def preprocess_image(self, context: Any, image: Any) -> Any:
        time.sleep(self.preparing)
        return np.asarray(image.convert("RGB"))

    def detect(self, context: Any, pp_image: Any, prompts: Any) -> list[Any]:
        time.sleep(self.prompting)
        return [InteractionResultShape(type="mask", points=[0, 100, 5, 5, 14, 14])]


class Track:
    """Leaves a shape where it is."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})

    def init_tracking_state(self, context: Any, pp_image: Any, shape: Any) -> Any:
        return list(shape.points)

    def track(self, context: Any, pp_image: Any, state: Any) -> Any:
        return TrackableShape(type="rectangle", points=state)


def serve() -> None:
    """Run the gateway until the standard input ends."""
    from pydantic import SecretStr

    functions: dict[str, Any] = {f"listed{number}": OneImage() for number in range(995)}
    functions |= {"one": OneImage(), "batches": Batches(), "clicks": Clicks(), "track": Track()}
    functions["quick"] = Clicks(0, 0)
    configuration = GatewayConfiguration(port=0, image_cache_bytes=64 * 2**20)
    with Gateway(configuration, functions=functions, secret=SecretStr(SECRET)) as gateway:
        print(gateway.url, flush=True)
        sys.stdin.read()


@contextmanager
def gateway() -> Iterator[tuple[str, int]]:
    """A gateway in another process: its address and the number of the process."""
    command = [sys.executable, __file__, "--serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.communicate(timeout=60)


def picture(width: int, height: int, seed: int = 0) -> bytes:
    """A JPEG about as large as that of a photograph."""
    small = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Caller:
    """Calls functions as CVAT does, with a new connection each time."""

    def __init__(self, url: str) -> None:
        self.address = url.removeprefix("http://")
        self.headers = {"x-nuclio-function-namespace": SECRET, "X-Nuclio-Invoke-Timeout": "120s"}

    def body(self, image: bytes, **fields: Any) -> bytes:
        return json.dumps({"image": base64.b64encode(image).decode(), **fields}).encode()

    def call(self, name: str, body: bytes) -> Any:
        headers = {**self.headers, "x-nuclio-function-name": name}
        return json.loads(self._request("POST", "/api/function_invocations", body, headers))

    def list(self) -> int:
        return len(self._request("GET", "/api/functions", None, self.headers))

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        # not by requests, whose own time would be a large part of what is measured
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == 200, response.reason
        return answer


def seconds_of(call: Callable[[], Any], rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


def overhead(caller: Caller, pid: int) -> None:
    image = picture(1920, 1080)
    body = caller.body(image)
    caller.call("one", body)
    calls, decodings = [], []
    before = processor_seconds(pid)
    for _ in range(60):
        caller.call("one", body)
    busy, own_before = processor_seconds(pid) - before, time.process_time()
    for _ in range(60):
        PIL.Image.open(io.BytesIO(image)).load()  # noqa: TID251
    decoding_busy = time.process_time() - own_before
    for _ in range(60):  # by turns, since the machine has other work
        calls += seconds_of(lambda: caller.call("one", body), 1)
        decodings += seconds_of(lambda: PIL.Image.open(io.BytesIO(image)).load(), 1)  # noqa: TID251
    whole, decoding = median(calls), median(decodings)
    print(
        f"overhead, JPEG of 1920x1080, {len(image) // 1024} KiB: {1000 * (whole - SLEEP - decoding):.1f} ms"
        f" (whole call {1000 * whole:.1f}, function {1000 * SLEEP:.0f}, decoding {1000 * decoding:.1f});"
        f" processor time {1000 * (busy - decoding_busy) / 60:.1f} ms beyond"
        f" {1000 * decoding_busy / 60:.1f} of decoding"
    )


def annotators(caller: Caller, width: int, height: int, people: int = 8, calls: int = 15) -> None:
    bodies = [caller.body(picture(width, height, seed)) for seed in range(people)]

    def work(body: bytes) -> list[float]:
        return [caller.call("batches", body)[0]["points"][2] for _ in range(calls)]

    caller.call("batches", bodies[0])
    begin = time.perf_counter()
    work(bodies[0])
    alone = calls / (time.perf_counter() - begin)
    begin = time.perf_counter()
    with ThreadPoolExecutor(people) as pool:
        sizes = [size for found in pool.map(work, bodies) for size in found]
    together = people * calls / (time.perf_counter() - begin)
    device = sum(FIRST / size + FURTHER * (size - 1) / size for size in sizes) / len(sizes)
    print(
        f"{people} annotators, {width}x{height}: {together:.1f} calls/s, one at a time {alone:.1f}:"
        f" {together / alone:.2f} times; {1000 * device:.0f} ms of the device for a call in place of 50,"
        f" {len(sizes) / sum(1 / size for size in sizes):.1f} images in a batch"
    )


def second_click(caller: Caller) -> None:
    firsts, seconds = [], []
    for seed in range(10):
        body = caller.body(picture(1920, 1080, seed), pos_points=[[50, 50]], neg_points=[], obj_bbox=[])
        firsts += seconds_of(lambda body=body: caller.call("clicks", body), 1)  # type: ignore[misc]
        seconds += seconds_of(lambda body=body: caller.call("clicks", body), 3)  # type: ignore[misc]
    print(f"first click: {1000 * median(firsts):.0f} ms, second click: {1000 * median(seconds):.1f} ms")


def listing(caller: Caller) -> None:
    size = caller.list()
    times = seconds_of(caller.list, 20)
    print(f"list of 1,000 functions, {size // 1024} KiB: {1000 * median(times):.1f} ms")


def memory(caller: Caller, pid: int, calls: int) -> None:
    images = [picture(320, 240, seed) for seed in range(400)]
    points = [1, 2, 30, 40]

    def call(number: int) -> None:
        image = images[number % len(images)]
        match number % 3:
            case 0:
                caller.call("quick", caller.body(image, pos_points=[[number % 300, 5]]))
            case 1:
                shapes = [{"type": "rectangle", "points": points}]
                states = caller.call("track", caller.body(image, shapes=shapes))["states"]
                caller.call("track", caller.body(image, shapes=[None], states=states))
            case _:
                caller.call("batches", caller.body(image))

    sizes = []
    begin = time.perf_counter()
    step = max(calls // 10, 1)
    with ThreadPoolExecutor(8) as pool:
        for done in range(0, calls, step):
            list(pool.map(call, range(done, min(done + step, calls))))
            sizes.append(resident_mib(pid))
    rate = calls / (time.perf_counter() - begin)
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    print(f"memory over {calls:,} calls ({rate:.0f} calls/s), at each tenth, in MiB: {shown}")


def processor_seconds(pid: int) -> float:
    """The processor time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of the last figure")
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    print(f"load {os.getloadavg()[0]:.1f}")
    with gateway() as (url, pid):
        caller = Caller(url)
        overhead(caller, pid)
        annotators(caller, 640, 480)
        annotators(caller, 1920, 1080)
        second_click(caller)
        listing(caller)
        memory(caller, pid, arguments.calls)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
