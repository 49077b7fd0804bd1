"""What the benchmarks share: a sandbox in a process of its own, tasks in it, measured child processes."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import PIL.Image

from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec


@contextmanager
def sandbox() -> Iterator[str]:
    """A sandbox in another process, so that its work is not counted as the client's; yields its address."""
    with sandbox_process() as (url, _pid):
        yield url


@contextmanager
def sandbox_process() -> Iterator[tuple[str, int]]:
    """A sandbox in another process; yields its address and the number of the process."""
    with _server("-m", "prefect_cvat.sandbox", "--port", "0") as started:
        yield started


@contextmanager
def chunk_files(url: str) -> Iterator[str]:
    """A server in front of a sandbox, see `chunk_files.py`; yields its address."""
    with _server(str(Path(__file__).with_name("chunk_files.py")), url) as (front, _pid):
        yield front


@contextmanager
def _server(*arguments: str) -> Iterator[tuple[str, int]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready "):
                break
        yield line.split()[1], process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def prefect_server(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A new Prefect server in another process; this process and its children are its clients.

    Args:
        command: Starts it, with the port as its last argument; by default Prefect's own command.
        environment: Further variables for the server and its clients.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ.update(
            PREFECT_HOME=home,
            PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
            PREFECT_CVAT_FUNCTION_MODULES="benchmark_functions",
            **environment,
        )
        start = command or ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port")
        process = subprocess.Popen(
            [sys.executable, *start, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_url(f"http://127.0.0.1:{port}/api/health")
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_for_url(url: str, seconds: float = 120) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def log_in(url: str) -> Client:
    """Log in to a sandbox."""
    client = Client(url)
    client.login(("admin", "admin"))
    return client


def photo(width: int, height: int, seed: int, quality: int = 85) -> bytes:
    """A JPEG of smooth noise: compresses and decodes about as a photograph does."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def make_task(
    client: Client,
    frames: int,
    *,
    labels: list[Any],
    size: tuple[int, int] = (768, 576),
    chunk_size: int = 36,
    quality: int = 85,
    **fields: Any,
) -> int:
    """Create a task of pictures (some tens of different ones, in turn); return its number."""
    task = client.create_task(
        "benchmark",
        [label_spec(label, None) if isinstance(label, str) else label for label in labels],
        **fields,
    )
    photos = [photo(*size, seed=i, quality=quality) for i in range(min(frames, 30))]
    images = {f"{i:06}.jpg": photos[i % len(photos)] for i in range(frames)}
    client.upload_images(task.id, images, chunk_size=chunk_size)
    return task.id


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Run something; return seconds of wall and of this process's CPU, and its peak memory in MB."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_child(script: str, *arguments: object) -> dict[str, float]:
    """Run a benchmark script's part in a process of its own, and read the measurement that it prints."""
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result
