"""From what a function found to what is sent to the server: the task's labels, inside the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from pydantic_core import from_json

from prefect_cvat.annotations.existing_annotations import ExistingOnFrame
from prefect_cvat.annotations.request_bodies import SerializedAnnotation, serialize
from prefect_cvat.frames import Frame, FrameDetections
from prefect_cvat.geometry.clipping import Clipping, clip_point, clip_shape
from prefect_cvat.models import (
    AttributeValRequest,
    LabeledImageRequest,
    LabeledShapeRequest,
    ShapeType,
    SubLabeledShapeRequest,
)
from prefect_cvat.planning.label_mapping import LabelMapping, LabelTarget, SublabelTarget
from prefect_cvat.planning.run_attributes import RunAttributes
from prefect_cvat.review.frame_ranking import FrameSummary, summarize_shapes
from prefect_cvat.review.score_histogram import score_bin

__all__ = ["Annotations", "LabelRemapper"]


class Annotations:
    """What is to be written for a batch, as the server's JSON objects. Plain, as `FrameDetections` is.

    Attributes:
        tags: Tags, in the order of the frames.
        shapes: Shapes, in the order of the frames.
        frames: How many frames they are of.
        labels: How many annotations of each label of the task there are.
        scores: How many of them have a score, by label and range of scores (see `score_bin`).
        clippings: What became of shapes at the edges of their images: how many were cut or put in order, and
            how many are left out because they were outside or empty.
        below_threshold: How many had a score below the threshold of their label, and are left out.
        overlapping_existing: How many are left out because the same is annotated already.
        unmatched: How many are left out because the task has no place for their label, by label.
        errors: What went wrong, by frame, where that was to be skipped.
        summaries: What is remembered of the frames, to say which of them to look at first.
    """

    __slots__ = (
        *("tags", "shapes", "frames", "labels", "scores", "clippings"),
        *("below_threshold", "overlapping_existing", "unmatched", "errors", "summaries", "_packs"),
    )

    def __init__(self) -> None:
        self.tags: list[dict[str, Any]] = []
        self.shapes: list[dict[str, Any]] = []
        self.frames = 0
        self.labels: Counter[str] = Counter()
        self.scores: Counter[tuple[str, int]] = Counter()
        self.clippings: Counter[Clipping] = Counter()
        self.below_threshold = 0
        self.overlapping_existing = 0
        self.unmatched: Counter[str] = Counter()
        self.errors: dict[int, str] = {}
        self.summaries: list[FrameSummary] = []
        self._packs: list[list[SerializedAnnotation]] = []

    def pack(self, at_least: int = 1) -> None:
        """Hold the tags and shapes, if there are so many, as JSON: that takes a fraction of the memory."""
        if len(self.tags) + len(self.shapes) >= at_least:
            # by frame, so that what is on one frame can be written in one request
            self._packs.append(
                [serialize(each) for each in sorted([*self.tags, *self.shapes], key=itemgetter("frame"))]
            )
            self.tags = []
            self.shapes = []

    def packs(self) -> Iterator[list[dict[str, Any]]]:
        """The tags and shapes that have been packed, one pack after the other."""
        for pack in self._packs:
            yield [from_json(annotation.json) for annotation in pack]

    def serialized_packs(self) -> Iterator[list[SerializedAnnotation]]:
        """The same packs as JSON, as they are sent."""
        yield from self._packs

    def empty(self) -> None:
        """Let go of the tags and shapes, once they are written; the counts stay."""
        self._packs = []
        self.tags = []
        self.shapes = []


class LabelRemapper:
    """Puts what a function found into the labels of the task.

    Args:
        mapping: From the function's labels to the task's.
        thresholds: The least score of each label, by the function's label ids; what carries a lower one is
            left out.
        summarize: Whether to sum up each frame, to say which of them to look at first.
        run_attributes: The attributes that are filled in beside those of the function.
        keep_all_parts: Whether a polygon or polyline that the edge of the image cuts apart becomes several
            shapes. Otherwise it becomes the largest part, as for a track, which has one shape on a frame.
    """

    def __init__(
        self,
        mapping: LabelMapping,
        *,
        thresholds: Mapping[int, float] | None = None,
        summarize: bool = False,
        run_attributes: RunAttributes | None = None,
        keep_all_parts: bool = True,
    ) -> None:
        self._mapping = mapping
        self._summarize = summarize
        self._run_attributes = run_attributes
        self._all_parts = keep_all_parts
        self._thresholds = thresholds or {}

    def remap(
        self,
        detections: Iterable[FrameDetections],
        frames: Mapping[int, Frame],
        pack_at: int | None = None,
        existing: Mapping[int, ExistingOnFrame] | None = None,
    ) -> Annotations:
        """Put detections into the task's labels.

        Args:
            detections: What the function found on some frames, checked against this mapping.
            frames: These frames, by number.
            pack_at: Pack what has been put, whenever it is so much.
            existing: The existing annotations on these frames, if what overlaps with them is to be left out.
        """
        result = Annotations()
        for found in detections:
            frame = frames[found.frame]
            tags_before, shapes_before = len(result.tags), len(result.shapes)
            overlapping_before = result.overlapping_existing
            result.frames += 1
            if found.error is not None:
                result.errors[found.frame] = found.error
            there = None if existing is None else existing[found.frame]
            for tag in found.tags:
                self._add_tag(tag, frame, result, there)
            for shape in found.shapes:
                self._add_shape(shape, frame, result, there)
            if self._summarize:
                # something was found on a frame also where all of it was annotated already
                others = len(result.tags) - tags_before + result.overlapping_existing - overlapping_before
                summary = summarize_shapes(found.frame, result.shapes[shapes_before:], others)
                summary.has_failed = found.error is not None
                result.summaries.append(summary)
            if pack_at is not None:
                result.pack(pack_at)
        return result

    def _add_tag(
        self, tag: LabeledImageRequest, frame: Frame, result: Annotations, there: ExistingOnFrame | None
    ) -> None:
        target = self._target(tag.label_id, result)
        if target is None:
            return
        body = {
            "frame": frame.number,
            "label_id": target.id,
            "source": "auto",
            "attributes": self._attributes(tag.attributes, target, None),
        }
        if there is not None and there.include(body):
            result.overlapping_existing += 1
            return
        result.labels[target.name] += 1
        result.tags.append(body)

    def _add_shape(
        self, shape: LabeledShapeRequest, frame: Frame, result: Annotations, there: ExistingOnFrame | None
    ) -> None:
        score = shape.score
        if score is not None and score < self._thresholds.get(shape.label_id, 0.0):
            result.below_threshold += 1
            return
        target = self._target(shape.label_id, result)
        if target is None:
            return
        parts, clipping = clip_shape(shape, frame.width, frame.height)
        elements = None
        if shape.type is ShapeType.SKELETON:
            elements, clipping = self._elements(shape, frame, target)
            parts = parts if elements else ()
        if clipping is not None and not self._all_parts:
            parts = parts[:1]
        written = 0
        for points in parts:
            body = _shape_body(shape, points, frame.number, target.id)
            body["attributes"] = self._attributes(shape.attributes, target, score)
            if elements is not None:
                body["elements"] = elements
            if there is not None and there.include(body):
                result.overlapping_existing += 1
                continue
            written += 1
            result.labels[target.name] += 1
            if score is not None:
                result.scores[target.name, score_bin(score)] += 1
            result.shapes.append(body)
        if clipping is not None and (written or not parts):
            result.clippings[clipping] += 1

    def _elements(
        self, skeleton: LabeledShapeRequest, frame: Frame, target: LabelTarget
    ) -> tuple[list[dict[str, Any]], Clipping | None]:
        """The keypoints, those outside the image as `outside`; none if none can be seen."""
        elements: list[dict[str, Any]] = []
        seen = beyond = 0
        for element in skeleton.elements:
            sublabel = target.sublabels[element.label_id]
            if sublabel is None:
                continue
            xs, ys = element.points[0::2], element.points[1::2]
            points = [
                number
                for x, y in zip(xs, ys, strict=True)
                for number in clip_point(x, y, frame.width, frame.height)
            ]
            body = _shape_body(element, points, frame.number, sublabel.id)
            if points != element.points and not element.outside:
                body["outside"] = True
                beyond += 1
            seen += not body["outside"]
            body["attributes"] = self._attributes(element.attributes, sublabel, element.score)
            elements.append(body)
        if not seen:
            return [], Clipping.OUTSIDE if beyond else Clipping.EMPTY
        return elements, Clipping.CUT if beyond else None

    def _attributes(
        self, values: list[AttributeValRequest], target: LabelTarget | SublabelTarget, score: float | None
    ) -> list[dict[str, Any]]:
        found = [
            {"spec_id": attribute_id, "value": value.value}
            for value in values
            if (attribute_id := target.attributes[value.spec_id]) is not None
        ]
        if self._run_attributes is not None:
            found += self._run_attributes.values(target.id, score, exclude=target.attributes.values())
        return found

    def _target(self, label_id: int, result: Annotations) -> LabelTarget | None:
        target = self._mapping.targets[label_id]
        if target is None:
            result.unmatched[self._mapping.names[label_id]] += 1
        return target


def _shape_body(
    shape: SubLabeledShapeRequest, points: list[float], frame: int, label_id: int
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": shape.type.value,
        "frame": frame,
        "label_id": label_id,
        "source": "auto",
        "occluded": shape.occluded,
        "outside": shape.outside,
        "z_order": shape.z_order,
        "rotation": shape.rotation,
        "score": 1.0 if shape.score is None else shape.score,
    }
    if shape.type is not ShapeType.SKELETON:  # CVAT refuses a skeleton with points
        body["points"] = points
    if shape.group:
        body["group"] = shape.group
    return body
