"""Typical tasks: two labels, far fewer than a detector has, and manual shapes."""

import io

import PIL.Image
from skimage import data

from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.cli.demo_run import pan_over_photo

PERSON = [20.0, 10.0, 420.0, 500.0]
"""About where the person of the photograph is."""


def create_photograph(client: Client) -> int:
    """Create a task with a photograph of a person, and manual boxes; return its id."""
    task = client.create_task("photograph", [label_spec("person", None), label_spec("car", None)])
    client.upload_images(task.id, {"astronaut.png": _astronaut()})
    _draw(client, task.id)
    return task.id


def create_clip(client: Client) -> int:
    """The same with a video, in two jobs that overlap."""
    labels = [label_spec("person", None), label_spec("car", None)]
    task = client.create_task("a pan", labels, segment_size=12, overlap=3)
    client.upload_images(task.id, {"pan.mp4": pan_over_photo(_astronaut(), 20)})
    _draw(client, task.id)
    return task.id


def _astronaut() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(data.astronaut()).save(buffer, "PNG")
    return buffer.getvalue()


def _draw(client: Client, task_id: int) -> None:
    numbers = {label.name: label.id for label in client.labels(task_id)}
    boxes = [("person", PERSON), ("car", [430.0, 20.0, 500.0, 120.0])]
    shapes = [
        {"type": "rectangle", "frame": 0, "label_id": numbers[name], "points": points, "source": "manual"}
        for name, points in boxes
    ]
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": shapes})
