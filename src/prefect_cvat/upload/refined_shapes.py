"""Recognizes shapes that a model has made from detections: each is the same object as its detection."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from prefect_cvat.annotations.request_bodies import SerializedAnnotation
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.files.spooled_file import MemoryShare
from prefect_cvat.geometry.bounding_box import BoundingBox, area, bounding_box, common_box
from prefect_cvat.records.annotation_index import StoredAnnotation
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import LineFile

__all__ = ["RefinedShapes"]

MIN_PART_INSIDE = 0.5
"""Minimum fraction of the box of a refined shape that lies inside the box of its detection."""


class RefinedShapes:
    """Masks, polygons and track keyframes of source `auto` that may have been made from detections.

    `refine` makes them from boxes and points, a tracking function from any shape. They are recognized by what
    both preserve: the frame, the label, and roughly the position. Each matches one detection.

    Args:
        path: The file that stores them until they are needed.
        share: The memory that it may take instead.
    """

    def __init__(self, path: Path, share: MemoryShare | None = None) -> None:
        self._file = LineFile(path, share)
        self._lines: list[bytes] = []
        self._by_frame: LinesByFrame | None = None
        self._current: tuple[int, list[_Refined]] = (-1, [])  # a frame, and the shapes on it
        self._is_claimed = bytearray()
        self._unconfirmed: list[int] = []

    def add(self, stored: StoredAnnotation, annotation: Mapping[str, Any]) -> None:
        """Add the shapes of an annotation that may have been made from a detection."""
        kind, annotation_id, digest = stored
        self._lines += (
            to_json(
                (
                    *(shape["frame"], annotation["label_id"], shape_type, bounding_box(shape)),
                    *(kind, annotation_id, digest.hex()),
                )
            )
            for shape_type, shape in _refined_shapes(kind, annotation)
        )

    def write(self) -> None:
        """Write the added shapes to the file.

        Raises:
            StorageError: The file cannot be written.
        """
        self._file.extend(self._lines)
        self._lines = []

    def clear(self) -> None:
        """Remove all shapes."""
        self._file.clear()
        self._lines = []
        self._is_claimed.clear()
        self.free_memory()

    def free_memory(self) -> None:
        """Free memory until the shapes are needed again."""
        self._by_frame = None
        self._current = (-1, [])

    def claim(
        self, detection: SerializedAnnotation, equal: Container[AnnotationId]
    ) -> StoredAnnotation | None:
        """Claim the annotation made from a detection, or None; no other detection can claim it.

        Args:
            detection: The detection, as it would be sent.
            equal: Annotations that equal a detection of this run, so they were not made from another.
        """
        on_frame = self._on_frame(detection.frame)
        if not on_frame:
            return None
        shape = from_json(detection.json)
        if shape.get("type") in (None, "skeleton"):
            return None
        box = bounding_box(shape)
        best: _Refined | None = None
        best_iou = 0.0
        for each in on_frame:
            if each.label_id != shape["label_id"] or self._is_claimed[each.number]:
                continue
            common = area(common_box(box, each.box))
            iou = common / (area(box) + area(each.box) - common) if common else 0.0
            if (
                iou > best_iou
                and common >= MIN_PART_INSIDE * area(each.box)
                and each.type != shape["type"]
                and each.stored[:2] not in equal
            ):
                best, best_iou = each, iou
        if best is None:
            return None
        self._is_claimed[best.number] = 1
        self._unconfirmed.append(best.number)
        return best.stored

    def confirm_claims(self) -> None:
        """Keep all claims made so far."""
        self._unconfirmed = []

    def withdraw_claims(self) -> None:
        """Withdraw the claims since the last call of `confirm_claims`."""
        for number in self._unconfirmed:
            self._is_claimed[number] = 0
        self._unconfirmed = []

    def _on_frame(self, frame: int) -> list[_Refined]:
        if self._by_frame is None:
            self._by_frame = self._load()
        if self._current[0] != frame:
            self._current = frame, [_Refined.parse(line) for line in self._by_frame.of(frame)]
        return self._current[1]

    def _load(self) -> LinesByFrame:
        by_frame = LinesByFrame()
        count = 0
        for count, line in enumerate(self._file, 1):
            by_frame.add(int(line[1 : line.index(b",")]), b"%d %b" % (count - 1, line))
        self._is_claimed.extend(bytes(count - len(self._is_claimed)))
        return by_frame


class _Refined(NamedTuple):
    number: int
    label_id: int
    type: str  # empty for a track
    box: BoundingBox
    stored: StoredAnnotation

    @classmethod
    def parse(cls, entry: bytes) -> _Refined:
        number, line = entry.split(b" ", 1)
        _, label_id, shape_type, box, kind, annotation_id, digest = from_json(line)
        return cls(
            int(number), label_id, shape_type, tuple(box), (kind, annotation_id, bytes.fromhex(digest))
        )


def _refined_shapes(kind: str, annotation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The shapes of an annotation that may have been made from a detection, each after its type.

    The type is empty for a keyframe of a track.
    """
    if annotation.get("source") != "auto":
        return
    if kind == "tracks":
        for shape in annotation["shapes"]:
            if not shape.get("outside") and shape["type"] != "skeleton":
                yield "", shape
    elif annotation.get("type") in ("mask", "polygon"):
        yield annotation["type"], annotation
