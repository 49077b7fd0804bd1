"""Writes a dataset in YOLO's format as Ultralytics reads it: `data.yaml` and a text file for each image.

The library supervision (extra `export`) formats the lines of these files.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import ModuleType

import numpy as np
import yaml
from numpy.typing import NDArray

from prefect_cvat.export.dataset import Annotation, Dataset, WriteSummary, unreadable_as_error
from prefect_cvat.extras import import_library
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import clip_shape, is_empty
from prefect_cvat.geometry.coco_format import box_of
from prefect_cvat.geometry.outlines import WITH_AREA, corners_of, has_outline
from prefect_cvat.masks import decode_mask, mask_to_polygons
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["import_supervision", "write_yolo"]

Corners = NDArray[np.float64]
"""The corners of a polygon, `[N, 2]`, in pixels."""


def import_supervision() -> ModuleType:
    """Import supervision.

    Raises:
        MissingLibraryError: It is not installed. The message says how to install it.
    """
    return import_library("supervision.dataset.formats.yolo", "YOLO's format")


def write_yolo(folder: Path, dataset: Dataset) -> WriteSummary:
    """Write `data.yaml` and the folder `labels`.

    Classes are numbered in the order of the task's labels. A YOLO dataset contains either boxes or outlines:
    if any shape has an outline, all are written as outlines, boxes by their four corners. Shapes are clipped
    at the edges of the image, because training code rejects coordinates outside.

    Args:
        folder: The folder of the dataset.
        dataset: The dataset.

    Returns:
        What was written and left out.

    Raises:
        InvalidResponseError: The server returned an invalid shape.
        MissingLibraryError: supervision is not installed.
        OSError: A file cannot be written.
    """
    classes = {number: label.name for number, label in enumerate(dataset.labels)}
    with (folder / "data.yaml").open("w", encoding="utf-8") as file:
        file.write("train: images\nval: images  # the same images: set some aside for validation\n")
        yaml.safe_dump({"names": classes}, file, allow_unicode=True, sort_keys=False)
    labels = folder / "labels"
    for frame in dataset.frames:
        path = labels / dataset.names.text(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # the file of an image without objects stays empty
    outlines = any("type" in item and has_outline(item) for item in dataset.annotations())
    writer = _LineWriter(dataset, outlines=outlines)
    for batch in dataset.batches:
        for number, items in groupby(sorted(batch, key=itemgetter("frame")), itemgetter("frame")):
            path = labels / dataset.names.text(dataset.frames.by_number[number])
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for item in items for line in writer.lines(item))
    return writer.written


class _LineWriter:
    """Formats shapes as lines of text."""

    def __init__(self, dataset: Dataset, *, outlines: bool) -> None:
        self.written = WriteSummary(outlines=outlines)
        self._frames = dataset.frames.by_number
        self._classes = {label.id: (number, label.name) for number, label in enumerate(dataset.labels)}
        self._library = import_supervision()

    def lines(self, item: Annotation) -> Iterator[str]:
        """The lines of a shape, one for each part; none if it is empty or not supported by YOLO."""
        kind = item.get("type")
        if kind not in WITH_AREA or is_empty(kind, item["points"]):
            self.written.leave_out(item)
            return
        frame = self._frames[item["frame"]]
        with unreadable_as_error(item, frame):
            parts = self._outlines_of(item, frame)
        if not parts:
            self.written.left_out["shapes outside the image"] += 1
            return
        number, label = self._classes[item["label_id"]]
        self.written.add(label, frame.number)
        for corners in parts:
            yield self._library.object_to_yolo(
                xyxy=np.concatenate([corners.min(axis=0), corners.max(axis=0)]),
                class_id=number,
                image_shape=(frame.height, frame.width),
                polygon=corners if self.written.outlines else None,
            )

    def _outlines_of(self, item: Annotation, frame: Frame) -> list[Corners]:
        """The outlines of a shape inside the image; of a mask, one for each part."""
        if item["type"] == "mask":
            return self._outlines_of_mask(item, frame)
        is_box = item["type"] == "cuboid" or not self.written.outlines
        return _clip(_corners_of_box(item) if is_box else corners_of(item), frame)

    def _outlines_of_mask(self, item: Annotation, frame: Frame) -> list[Corners]:
        from supervision.dataset.utils import approximate_mask_with_polygons

        mask = decode_mask(item["points"], image_width=frame.width, image_height=frame.height)
        try:
            outlines = approximate_mask_with_polygons(mask, bridge_holes=True)
        except ValueError:  # supervision cannot connect a hole to the outline
            outlines = mask_to_polygons(mask, tolerance=0)
            self.written.approximated["masks whose holes are filled"] += 1
        if len(outlines) > 1:
            self.written.approximated["masks of several parts, each written as an object"] += 1
        if not outlines:  # too thin to have an outline
            return _clip(_corners_of_box(item), frame)
        return [np.asarray(corners, dtype=np.float64).reshape(-1, 2) for corners in outlines]


def _corners_of_box(item: Annotation) -> list[float]:
    left, top, width, height = box_of(item)
    return corners_of({"type": "rectangle", "points": [left, top, left + width, top + height]})


def _clip(corners: list[float], frame: Frame) -> list[Corners]:
    """The parts of a polygon inside the image."""
    polygon = LabeledShapeRequest(type=ShapeType.POLYGON, label_id=0, frame=frame.number, points=corners)
    parts, _ = clip_shape(polygon, frame.width, frame.height)
    return [np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in parts]
