"""Reading and drawing annotations in tests, the requests that carry them, and functions that make them."""

from collections import Counter
from types import SimpleNamespace

import numpy as np

from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    label_spec,
    rectangle,
)
from prefect_cvat.masks import encode_mask

WRITES = {"methods": ["PATCH"], "path": "/annotations$"}
CREATES = {**WRITES, "actions": ["create"]}
READS = {"methods": ["GET"], "path": "/annotations$|/api/jobs/[0-9]+$"}


def boxes(per_frame=5, before=None, version="1"):
    """A function that finds `per_frame` cars on each frame; `before` is called first with the frame number."""

    def detect(context, _image):
        number = int(context.frame_name[:4])
        if before is not None:
            before(number)
        return [rectangle(1, [2 * i, number % 30, 2 * i + 9, number % 30 + 9]) for i in range(per_frame)]

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    return SimpleNamespace(spec=spec, detect=detect, version=version)


def annotations(client, task_id):
    return [
        (job.id, item)
        for job in client.jobs(task_id)
        for kind in ("tags", "shapes", "tracks")
        for item in getattr(client.job_annotations(job.id), kind)
    ]


def per_frame(client, task_id):
    return Counter(item["frame"] for _, item in annotations(client, task_id))


def label_id(client, task_id, name="car"):
    return next(label.id for label in client.labels(task_id) if label.name == name)


def draw(client, task_id, frame, x=40.0, **fields):
    """Draw a rectangle on a frame, in the first job that has it; return the job's id and the shape."""
    job = next(job for job in client.jobs(task_id) if job.start_frame <= frame <= job.stop_frame)
    shape = {"type": "rectangle", "frame": frame, "label_id": label_id(client, task_id, "person"),
             "points": [x, 1, x + 9, 9], "source": "manual", **fields}  # fmt: skip
    [stored] = client.create_job_annotations(job.id, {"shapes": [shape]}).shapes
    return job.id, stored


class Masks:
    """Makes a mask of a box, a pixel smaller on each side."""

    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)

    def detect(self, _context, image, prompts):
        (left, top), (right, bottom) = prompts.bounding_box
        bitmap = np.zeros((image.height, image.width), bool)
        bitmap[int(top) + 1 : int(bottom) - 1, int(left) + 1 : int(right) - 1] = True
        return [InteractionResultShape(type="mask", points=encode_mask(bitmap))]
