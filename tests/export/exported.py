"""Functions with exported results, and readers of datasets."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO

from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    checkbox_attribute_spec,
    keypoint,
    keypoint_spec,
    label_spec,
    mask,
    number_attribute_spec,
    points,
    polygon,
    polyline,
    rectangle,
    skeleton,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import AttributeValRequest

SIZE = (64, 48)

RING = np.zeros(SIZE[::-1], dtype=bool)
RING[10:30, 20:50] = True
RING[15:20, 30:40] = False


def read_by_pycocotools(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(folder / "annotations.json")


def read_by_supervision(folder, **options):
    import supervision

    return supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), **options
    )


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def labels_of(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


def draw(client, task_id, shapes=(), tags=(), tracks=()):
    [job] = client.jobs(task_id)
    body = {"shapes": list(shapes), "tags": list(tags), "tracks": list(tracks)}
    client.create_job_annotations(job.id, body)


def box(frame, label_id, corners=(10, 10, 30, 30), **fields):
    return {"type": "rectangle", "frame": frame, "label_id": label_id, "points": list(corners)} | fields


class Boxes:
    """Finds a car on every frame but the second, and a person in whom it hardly believes."""

    spec = DetectionFunctionSpec(labels=[label_spec("person", 1), label_spec("car", 2)])
    version = "boxes"

    def __init__(self):
        self.seen = []

    def detect(self, context, image):
        self.seen.append(context.frame_name)
        if context.frame_name == "0001.png":
            return []
        return [rectangle(2, [10.25, 10, 30, 30.5], score=0.9), rectangle(1, [-5, 0, 70, 20], score=0.3)]


class Everything:
    """Finds one of each kind of shape on every frame."""

    spec = DetectionFunctionSpec(
        labels=[
            label_spec(
                "car",
                1,
                attributes=[
                    checkbox_attribute_spec("parked", 11),
                    number_attribute_spec("doors", 12, ["1", "5", "1"]),
                ],
            ),
            skeleton_label_spec("bird", 2, [keypoint_spec("beak", 21), keypoint_spec("tail", 22)]),
        ]
    )

    def detect(self, context, image):
        values = [AttributeValRequest(11, "true"), AttributeValRequest(12, "4")]
        return [
            rectangle(1, [1, 2, 11, 12], score=0.5, attributes=values),
            polygon(1, [5, 5, 20, 5, 20, 25], score=0.6),
            mask(1, encode_mask(RING, [0, 0, *SIZE])),
            rectangle(1, [40, 2, 60, 12], rotation=90.0),
            skeleton(2, [keypoint(21, [3, 4]), keypoint(22, [13, 24], outside=True)]),
            polyline(1, [1, 1, 5, 5]),
            points(1, [1, 1]),
            tag(1),
        ]  # fmt: skip
