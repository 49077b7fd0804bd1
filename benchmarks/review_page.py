"""How long the page to review frames takes, how large it is, and when a browser can use it.

A task of frames of 1920x1080, each of nine photographs, is annotated in a sandbox with twenty boxes a frame.
Then the page is written, and Chromium opens it from disk: the time until the first shapes are drawn.

    python benchmarks/review_page.py PHOTOS_FOLDER FRAMES...
"""

from __future__ import annotations

import io
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image

from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.media.untrusted_images import open_image
from prefect_cvat.options.run_options import Options
from prefect_cvat.rendering.run_page import write_run_page
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.sandbox import Sandbox

LABELS = "person", "car", "bicycle", "dog", "traffic light"
BOXES = 20


def main() -> None:
    folder, *counts = sys.argv[1:]
    photos = [open_image(path, path.name).convert("RGB") for path in sorted(Path(folder).glob("*.jpg"))]
    print("frames   page (s)   page (MB)   beside it (MB)   interactive (s)")
    for count in map(int, counts):
        with tempfile.TemporaryDirectory() as place, Sandbox() as server, Client(server.url) as client:
            client.login((server.user, server.password))
            page = Path(place) / "review.html"
            seconds = write_page(client, create_task(client, photos, count), page)
            beside = sum(file.stat().st_size for file in Path(place).glob("*_images/*"))
            size = page.stat().st_size
            opened = f"{seconds_to_open(page):.2f}" if shutil.which("chromium") else "-"
            print(f"{count:6d} {seconds:10.1f} {size / 1e6:11.1f} {beside / 1e6:16.1f} {opened:>17}")


def create_task(client: Client, photos: list[PIL.Image.Image], count: int) -> int:
    task = client.create_task("photographs", [label_spec(name, None) for name in LABELS])
    different = [_frame(photos, seed) for seed in range(min(count, 20))]
    files = {f"{number:04}.jpg": different[number % len(different)] for number in range(count)}
    client.upload_images(task.id, files, chunk_size=20)
    return task.id


def write_page(client: Client, task_id: int, page: Path) -> float:
    """Annotate the task and write its page; return the seconds that the page takes."""
    run = AnnotateRun(client, task_id, _boxes(), Options())
    with ThreadSubmitter() as threads:
        report = run_pipeline(run, threads)
    assert run.planned is not None
    plan = run.planned.plan
    started = time.perf_counter()
    ranked = run.planned.rank_frames(len(plan.frames))
    write_run_page(client, plan, report, ranked, page, max_frames=len(plan.frames))
    return time.perf_counter() - started


def seconds_to_open(page: Path) -> float:
    """The median of five times from the navigation until the first shapes are drawn."""
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(5):
            opened = browser.new_page(viewport={"width": 1280, "height": 900})
            opened.goto(page.as_uri(), wait_until="commit")
            opened.wait_for_selector(".frame canvas", state="attached", timeout=60_000)
            times.append(opened.evaluate("performance.now()") / 1000)
            opened.close()
        browser.close()
    return sorted(times)[2]


def _frame(photos: list[PIL.Image.Image], seed: int) -> bytes:
    frame = PIL.Image.new("RGB", (1920, 1080))
    for place in range(9):
        photo = photos[(3 * seed + place) % len(photos)].resize((640, 360))
        frame.paste(photo, (640 * (place % 3), 360 * (place // 3)))
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _boxes() -> Any:
    spec = DetectionFunctionSpec(labels=[label_spec(name, index) for index, name in enumerate(LABELS)])

    def detect(context: Any, _image: PIL.Image.Image) -> list[Any]:
        chance = random.Random(context.frame_name)
        shapes = []
        for _ in range(BOXES):
            x, y = chance.uniform(0, 1700), chance.uniform(0, 900)
            size = chance.uniform(40, 220), chance.uniform(40, 180)
            score = chance.uniform(0.2, 1)
            shapes.append(rectangle(chance.randrange(5), [x, y, x + size[0], y + size[1]], score=score))
        return shapes

    return SimpleNamespace(spec=spec, detect=detect)


if __name__ == "__main__":
    main()
