"""Tasks whose pictures have areas of plain colours, for functions that look for what words describe."""

import PIL.Image
import PIL.ImageDraw

from pictures import png
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec

RED, BLUE = [4, 4, 20, 16], [30, 20, 50, 40]
"""Boxes of the red and of the blue area of each picture, in pixels: left, top, right, bottom."""


def coloured_picture(**areas: list[int]) -> bytes:
    """A gray picture with areas, by colour: `red=[left, top, right, bottom]`."""
    image = PIL.Image.new("RGB", (64, 48), "gray")
    draw = PIL.ImageDraw.Draw(image)
    for colour, (left, top, right, bottom) in areas.items():
        draw.rectangle([left, top, right - 1, bottom - 1], fill=colour)
    return png(image)


def create_coloured_task(client: Client, *labels: str, frames: int = 4, **fields: object) -> int:
    """Create a task of pictures with a red and a blue area; return its id."""
    specs = [] if "project_id" in fields else [label_spec(name, None) for name in labels]
    task = client.create_task("colours", specs, **fields)
    images = {f"{i:04}.png": coloured_picture(red=RED, blue=BLUE) for i in range(frames)}
    client.upload_images(task.id, images, chunk_size=2)
    return task.id


def found_boxes(client: Client, task_id: int) -> set[tuple[str, tuple[float, ...]]]:
    """The shapes of a task, as labels and points."""
    names = {label.id: label.name for label in client.labels(task_id)}
    shapes = client.task_annotations(task_id).shapes
    return {(names[shape["label_id"]], tuple(shape["points"])) for shape in shapes}


def draw(client: Client, task_id: int, label: str, box: list[int], frames: list[int]) -> None:
    """Draw a box on frames as a human does."""
    [label_id] = [each.id for each in client.labels(task_id) if each.name == label]
    shapes = [
        {"type": "rectangle", "points": box, "frame": frame, "label_id": label_id, "source": "manual"}
        for frame in frames
    ]
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": shapes})
