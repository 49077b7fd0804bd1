"""The tasks that are attacked, or that are a burden themselves: large honest images, and very many shapes."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import PIL.Image

import prefect_cvat.auto_annotation as cvataa
from clips import SIZE, clip
from hostile.hostile_input import HostileInput
from pictures import picture
from prefect_cvat import Client, annotate_task

__all__ = ["MANY_SHAPES", "large_tasks", "prepare_many_shapes", "upload_task"]

FRAMES = 6

LARGE_IMAGES: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "JPEG of 45 megapixels": ("JPEG", (8256, 5504), {}),
    "JPEG of 33 megapixels": ("JPEG", (7000, 4700), {}),
    "progressive JPEG of 17 megapixels": ("JPEG", (5200, 3300), {"progressive": True}),
    "PNG of 35 megapixels": ("PNG", (7000, 5000), {"compress_level": 1}),
    "WEBP of 10 megapixels": ("WEBP", (3900, 2600), {"method": 0}),
}
"""Pillow's format, width and height in pixels, and options."""

LARGE_COUNT = 4
MANY = 8_000


@cache
def _large_image(name: str) -> bytes:
    image_format, size, options = LARGE_IMAGES[name]
    noise = PIL.Image.effect_noise((size[0] // 3, size[1] // 3), 60).resize(size)
    buffer = io.BytesIO()
    PIL.Image.merge("RGB", (noise, noise, noise)).save(buffer, image_format, **options)
    return buffer.getvalue()


def _scattered(number: int) -> Any:
    x, y = number % 50, number // 50 % 36
    return cvataa.rectangle(0, [x, y, x + 9.0, y + 8.0])


def _alike(_: int) -> Any:
    return cvataa.rectangle(0, [5.0, 6.0, 25.0, 26.0])


def _polygon(number: int) -> Any:
    x, y = number % 40, number // 40 % 24
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    points = np.stack([x + 12 + 10 * np.cos(turns), y + 12 + 10 * np.sin(turns)], axis=1)
    return cvataa.polygon(0, points.clip(0, (64, 48)).ravel().tolist())


MANY_SHAPES: dict[str, Callable[[int], Any]] = {
    "boxes all over the frame": _scattered,
    "boxes at one place": _alike,
    "polygons": _polygon,
}


class _ManyShapes:
    """Finds very many shapes on the first frame."""

    def __init__(self, name: str) -> None:
        self._shape = MANY_SHAPES[name]
        self.spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

    def detect(self, context: Any, image: Any) -> list[Any]:
        return [self._shape(number) for number in range(MANY)] if context.frame_name == "0.png" else []


def upload_task(client: Client, task_id: int, kind: str) -> None:
    """Give a task its images.

    Args:
        client: The server.
        task_id: A task without data.
        kind: `images`, `video`, the name of very many shapes, or of a large image and how many are in a chunk.
    """
    if kind == "video":
        client.upload_images(task_id, {"clip.mp4": clip(range(FRAMES), size=SIZE)}, chunk_size=2)
        return
    name, _, in_chunk = kind.partition(", ")
    if name not in LARGE_IMAGES:
        client.upload_images(task_id, {f"{i}.png": picture(seed=i) for i in range(FRAMES)}, chunk_size=2)
        return
    suffix = LARGE_IMAGES[name][0].lower()
    images = {f"{i}.{suffix}": _large_image(name) for i in range(LARGE_COUNT)}
    client.upload_images(task_id, images, chunk_size=int(in_chunk))


def prepare_many_shapes(client: Client, task_id: int, name: str) -> str | None:
    """Draw very many shapes on the first frame, manually and by a run; return the id of the run."""
    [label] = client.labels(task_id)
    [job] = client.jobs(task_id)
    drawn = [MANY_SHAPES[name](number) for number in range(MANY)]
    shapes = [
        {"label_id": label.id, "frame": 0, "type": str(each.type), "points": each.points, "source": "manual"}
        for each in drawn
    ]
    client.create_job_annotations(job.id, {"version": 0, "tags": [], "shapes": shapes, "tracks": []})
    return annotate_task(client, task_id, _ManyShapes(name), use_cache=False).run


def large_tasks() -> list[HostileInput]:
    """Large images, one or several in a chunk, and very many shapes, on the commands that meet them."""
    largest, for_tracking = "JPEG of 45 megapixels", "JPEG of 33 megapixels"
    on = {f"{largest}, 1": ("annotate", "follow", "refine", "export", "evaluate", "preview")}
    on |= {f"{for_tracking}, 1": ("track",)}  # it loads libraries of 75 MB, and refuses larger images
    on |= {f"{largest}, {LARGE_COUNT}": ("annotate", "follow", "refine", "preview")}
    on |= {f"{name}, {LARGE_COUNT}": ("annotate", "preview") for name in list(LARGE_IMAGES)[2:]}
    return [
        *(
            HostileInput(f"{task} in a chunk ({command})", "large image", command=command, task=task)
            for task, commands in on.items()
            for command in commands
        ),
        *(
            HostileInput(f"{MANY} {name} on both sides", "many shapes", command="evaluate", task=name)
            for name in MANY_SHAPES
        ),
    ]
