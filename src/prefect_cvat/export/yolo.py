"""A dataset in YOLO's format, as Ultralytics lays it out: `data.yaml` and a text file for each image.

The lines of these files are written by supervision (the extra `export`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import ModuleType

import numpy as np
import yaml
from numpy.typing import NDArray

from prefect_cvat.exceptions import MissingLibraryError
from prefect_cvat.export.content import Annotation, Content, Written, readable
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clipping import clip_shape, is_empty
from prefect_cvat.geometry.coco import WITH_AREA, box_of, corners_of, has_outline
from prefect_cvat.masks import decode_mask, mask_to_polygons
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["import_supervision", "write_yolo"]

Corners = NDArray[np.float64]
"""The corners of a polygon, `[N, 2]`, in pixels."""


def import_supervision() -> ModuleType:
    """Import the library that writes the lines.

    Raises:
        MissingLibraryError: It is not installed; the message says how to do so.
    """
    try:
        return importlib.import_module("supervision.dataset.formats.yolo")
    except ImportError as error:
        raise MissingLibraryError(
            f"YOLO's format needs the library supervision ({error}); install it:"
            " pip install 'prefect-cvat[export]'"
        ) from error


def write_yolo(folder: Path, content: Content) -> Written:
    """Write `data.yaml` and the folder `labels`.

    Classes have the numbers of the task's labels, in its order. A dataset of YOLO's holds boxes or outlines:
    if any shape has an outline, all are written as outlines, boxes by their four corners. What is outside
    the image is cut off: trainers refuse it.

    Args:
        folder: Where to write it.
        content: What to write.

    Returns:
        What became of it.

    Raises:
        InvalidResponseError: A shape is none.
        MissingLibraryError: supervision is not installed.
        OSError: The disk does not take it.
    """
    classes = {number: label.name for number, label in enumerate(content.labels)}
    with (folder / "data.yaml").open("w", encoding="utf-8") as file:
        file.write("train: images\nval: images  # the same ones: split some off to measure by\n")
        yaml.safe_dump({"names": classes}, file, allow_unicode=True, sort_keys=False)
    labels = folder / "labels"
    for frame in content.frames:
        path = labels / content.names.text(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # that of an image without objects stays empty
    outlines = any("type" in item and has_outline(item) for item in content.annotations())
    writer = _LineWriter(content, outlines=outlines)
    for pack in content.packs:
        for number, items in groupby(sorted(pack, key=itemgetter("frame")), itemgetter("frame")):
            path = labels / content.names.text(content.frames.by_number[number])
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for item in items for line in writer.lines(item))
    return writer.written


class _LineWriter:
    """Makes lines of shapes."""

    def __init__(self, content: Content, *, outlines: bool) -> None:
        self.written = Written(outlines=outlines)
        self._frames = content.frames.by_number
        self._classes = {label.id: (number, label.name) for number, label in enumerate(content.labels)}
        self._library = import_supervision()

    def lines(self, item: Annotation) -> Iterator[str]:
        """The lines of a shape, one for each part; none if it is empty or YOLO has no place for it."""
        kind = item.get("type")
        if kind not in WITH_AREA or is_empty(kind, item["points"]):
            self.written.leave_out(item)
            return
        frame = self._frames[item["frame"]]
        with readable(item, frame):
            parts = self._outlines_of(item, frame)
        if not parts:
            self.written.left_out["shapes outside their image"] += 1
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
        """What is inside the image: the outline, or those of the parts of a mask."""
        if item["type"] == "mask":
            return self._outlines_of_mask(item, frame)
        is_box = item["type"] == "cuboid" or not self.written.outlines
        return _cut(_corners_of_box(item) if is_box else corners_of(item), frame)

    def _outlines_of_mask(self, item: Annotation, frame: Frame) -> list[Corners]:
        from supervision.dataset.utils import approximate_mask_with_polygons

        mask = decode_mask(item["points"], image_width=frame.width, image_height=frame.height)
        try:
            found = approximate_mask_with_polygons(mask, bridge_holes=True)
        except ValueError:  # supervision finds no way to a hole
            found = mask_to_polygons(mask, tolerance=0)
            self.written.approximated["masks whose holes are filled"] += 1
        if len(found) > 1:
            self.written.approximated["masks of several parts, each of them an object"] += 1
        if not found:  # it is too thin to have an outline
            return _cut(_corners_of_box(item), frame)
        return [np.asarray(corners, dtype=np.float64).reshape(-1, 2) for corners in found]


def _corners_of_box(item: Annotation) -> list[float]:
    left, top, width, height = box_of(item)
    return corners_of({"type": "rectangle", "points": [left, top, left + width, top + height]})


def _cut(corners: list[float], frame: Frame) -> list[Corners]:
    """What is left of a polygon inside the image: itself, parts of it, or nothing."""
    polygon = LabeledShapeRequest(type=ShapeType.POLYGON, label_id=0, frame=frame.number, points=corners)
    parts, _ = clip_shape(polygon, frame.width, frame.height)
    return [np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in parts]
