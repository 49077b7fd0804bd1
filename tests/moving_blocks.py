"""Tasks of coloured blocks that move two pixels a frame, and a tracking function that finds them."""

import io
from types import SimpleNamespace

import numpy as np
import PIL.Image
import PIL.ImageDraw

from prefect_cvat.auto_annotation import (
    TrackableShape,
    TrackingFunctionSpec,
    label_spec,
    select_attribute_spec,
)
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.track_shapes_run import TrackShapesRun

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SIDE = 8


class Blocks:
    """Follows blocks of one colour; one that cannot be seen is lost."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle", "polygon"})

    def __init__(self):
        self.preprocessed = 0

    def preprocess_image(self, context, image):
        self.preprocessed += 1
        return np.asarray(image.convert("RGB"))

    def init_tracking_state(self, context, pixels, shape):
        xs, ys = shape.points[::2], shape.points[1::2]
        colour = pixels[int(min(ys) + max(ys)) // 2, int(min(xs) + max(xs)) // 2]
        return SimpleNamespace(colour=colour, dx=0, type=shape.type)

    def track(self, context, pixels, state):
        rows, columns = np.nonzero((pixels == state.colour).all(axis=2))
        if not len(rows):
            return None
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        box = [float(left), float(top), float(right), float(bottom)]
        polygon = [box[0], box[1], box[2], box[1], box[2], box[3]]
        return TrackableShape(type=state.type, points=box if state.type == "rectangle" else polygon)


def box(x, y=10):
    return [float(x), float(y), float(x + SIDE), float(y + SIDE)]


def png(blocks, size=(64, 48)):
    image = PIL.Image.new("RGB", size, (40, 40, 40))
    draw = PIL.ImageDraw.Draw(image)
    for colour, (x, y) in blocks:
        draw.rectangle([x, y, x + SIDE - 1, y + SIDE - 1], fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class World:
    """A task of blocks, and the shapes and tracks in it."""

    def __init__(self, client, task_id):
        self.client, self.task_id = client, task_id
        self.jobs = client.jobs(task_id)
        self.labels = {label.name: label for label in client.labels(task_id)}

    def shape(self, frame, *, row=10, label="car", x=None, **fields):
        return {"type": "rectangle", "frame": frame, "label_id": self.labels[label].id, "source": "manual",
                "points": box(2 * frame if x is None else x, row), **fields}  # fmt: skip

    def place(self, *shapes, job=0, **others):
        return self.client.create_job_annotations(self.jobs[job].id, {"shapes": shapes, **others})

    def stored(self, job=0):
        return self.client.job_annotations(self.jobs[job].id)

    def tracks(self, job=0):
        return self.stored(job).tracks

    def shapes(self, job=0):
        return self.stored(job).shapes

    def run(self, function=None, *, options=None, submitter=None, **follow):
        options = Options(**(options or {"frames_per_batch": 2}))
        run = TrackShapesRun(
            self.client, self.task_id, function or Blocks(), options, ShapeTrackingOptions(**follow)
        )
        if submitter is not None:
            return run_pipeline(run, submitter)
        with ThreadSubmitter() as threads:
            return run_pipeline(run, threads)


def create_world(client, frames=12, *, hidden=(), chunk_size=2, **fields):
    """Create a task of blocks: red in row 10, green in row 20, blue in row 30.

    `hidden` are the pairs of colour and frame in which the block is not drawn.
    """
    labels = [
        label_spec(
            "car",
            None,
            attributes=[
                select_attribute_spec("colour", None, ["red", "blue"], default_value="red"),
                select_attribute_spec("turn", None, ["l", "r"], default_value="l", mutable=True),
            ],
        ),
        label_spec("person", None),
    ]
    task = client.create_task("blocks", labels, **fields)
    images = {}
    for frame in range(frames):
        blocks = [
            (colour, (2 * frame, row))
            for colour, row in ((RED, 10), (GREEN, 20), (BLUE, 30))
            if (colour, frame) not in hidden
        ]
        images[f"{frame:04}.png"] = png(blocks, (100, 48))
    client.upload_images(task.id, images, chunk_size=chunk_size)
    return World(client, task.id)


def visible(track, frames):
    """The frames on which a track is visible, among the first `frames`."""
    return [frame for frame in range(frames) if interpolate(track, frame) is not None]


def keyframes(track):
    """The frames of the keyframes of a track, and whether it is outside there."""
    return [(shape["frame"], shape["outside"]) for shape in track["shapes"]]
