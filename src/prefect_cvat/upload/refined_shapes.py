"""Shapes that a machine has made of what a machine has detected: they stand for the same objects."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.geometry.iou import BoundingBox, area, bounding_box, common_box
from prefect_cvat.records.annotation_index import Stored
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import NewAnnotationFile

__all__ = ["RefinedShapes", "refined_shapes"]

MIN_PART_INSIDE = 0.5
"""How much of a refined shape lies in the detection that it was made of, at the least, by their boxes."""


def refined_shapes(kind: str, annotation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The shapes of an annotation that may have been made of a detection: where they are, their type."""
    if annotation.get("source") != "auto":
        return
    is_track = kind == "tracks"
    for shape in annotation["shapes"] if is_track else [annotation]:
        if is_track and not shape.get("outside") and shape["type"] != "skeleton":
            shape_type = ""
        elif not is_track and shape.get("type") in ("mask", "polygon"):
            shape_type = shape["type"]
        else:
            continue
        yield {
            "stored": (kind, annotation["id"]),
            "place": (shape["frame"], annotation["label_id"]),
            "type": shape_type,
            "box": bounding_box(shape),
        }


class RefinedShapes:
    """Masks, polygons and keyframes of tracks of source `auto` that may have been made of a detection.

    `refine` makes them of boxes and points, a tracking function of any shape. They are known by what these
    leave as it is: frame, label, and about the place. Each stands for one detection.

    Args:
        path: The file in which they wait until they are needed.
    """

    def __init__(self, path: Path) -> None:
        self._log = NewAnnotationFile(path)
        self._by_frame: LinesByFrame | None = None
        self._here: tuple[int, list[_Refined]] = (-1, [])  # those on one frame
        self._is_taken = bytearray()

    def extend(self, shapes: Iterable[tuple[bytes, dict[str, Any]]]) -> None:
        """Note what `refined_shapes` tells of the job, each after the identity of its annotation."""
        self._log.extend(shapes)

    def clear(self) -> None:
        """Forget all that was noted."""
        self._log.clear()
        self._is_taken.clear()
        self.free_memory()

    def take(self, detection: Mapping[str, Any], known: Container[AnnotationId]) -> Stored | None:
        """The annotation that stands for a detection, if there is one; it stands for no other one then.

        Args:
            detection: What was detected, as it would be sent.
            known: Annotations that say what this run has detected, and so were not made of anything else.
        """
        if detection.get("type") in (None, "skeleton"):
            return None
        box = bounding_box(detection)
        best: _Refined | None = None
        most = 0.0
        for each in self._on_frame(detection["frame"]):
            if each.label_id != detection["label_id"] or self._is_taken[each.number]:
                continue
            common = area(common_box(box, each.box))
            overlap = common / (area(box) + area(each.box) - common) if common else 0.0
            if (
                overlap > most
                and common >= MIN_PART_INSIDE * area(each.box)
                and each.type != detection["type"]
                and each.stored[:2] not in known
            ):
                best, most = each, overlap
        if best is None:
            return None
        self._is_taken[best.number] = 1
        return best.stored

    def free_memory(self) -> None:
        """Keep nothing in memory until it is needed again."""
        self._by_frame = None
        self._here = (-1, [])

    def _on_frame(self, frame: int) -> list[_Refined]:
        if self._by_frame is None:
            self._by_frame = self._load()
        if self._here[0] != frame:
            refined = []
            for line in self._by_frame.of(frame):
                number, identity, (kind, annotation_id), label_id, shape_type, box = from_json(line)
                stored = kind, annotation_id, bytes.fromhex(identity)
                refined.append(_Refined(number, stored, label_id, shape_type, tuple(box)))
            self._here = frame, refined
        return self._here[1]

    def _load(self) -> LinesByFrame:
        by_frame = LinesByFrame()
        count = 0
        for count, (identity, body) in enumerate(self._log, 1):
            frame, label_id = body["place"]
            line = (count - 1, identity.hex(), body["stored"], label_id, body["type"], body["box"])
            by_frame.add(frame, to_json(line))
        self._is_taken.extend(bytes(count - len(self._is_taken)))
        return by_frame


class _Refined(NamedTuple):
    number: int
    stored: Stored
    label_id: int
    type: str  # empty for a track
    box: BoundingBox
