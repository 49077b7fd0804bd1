"""Shapes that a machine has made of what a machine has detected: they stand for the same objects."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prefect_cvat.geometry.iou import BoundingBox, area, bounding_box, common_box
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.job_logs import BodyLog, Stored

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
        self._log = BodyLog(path)
        self._by_place: dict[tuple[int, int], list[_Refined]] | None = None

    def extend(self, shapes: Iterable[tuple[bytes, dict[str, Any]]]) -> None:
        """Note what `refined_shapes` tells of the job, each after the identity of its annotation."""
        self._log.extend(shapes)

    def take(self, detection: Mapping[str, Any], known: Container[AnnotationId]) -> Stored | None:
        """The annotation that stands for a detection, if there is one; it stands for no other one then.

        Args:
            detection: What was detected, as it would be sent.
            known: Annotations that say what this run has detected, and so were not made of anything else.
        """
        if detection.get("type") in (None, "skeleton"):
            return None
        if self._by_place is None:
            self._by_place = self._load()
        there = self._by_place.get((detection["frame"], detection["label_id"]), [])
        box = bounding_box(detection)
        best: _Refined | None = None
        most = 0.0
        for each in there:
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
        there.remove(best)
        return best.stored

    def rest(self) -> None:
        """Keep nothing in memory until it is needed again."""
        self._by_place = None

    def _load(self) -> dict[tuple[int, int], list[_Refined]]:
        by_place: dict[tuple[int, int], list[_Refined]] = {}
        for identity, body in self._log:
            kind, number = body["stored"]
            frame, label_id = body["place"]
            refined = _Refined((kind, number, identity), body["type"], tuple(body["box"]))
            by_place.setdefault((frame, label_id), []).append(refined)
        return by_place


class _Refined(NamedTuple):
    stored: Stored
    type: str  # empty for a track
    box: BoundingBox
