"""Converts detections of a function to annotations of the task, clipped to the image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from pydantic_core import from_json

from prefect_cvat.annotations.existing_annotations import ExistingOnFrame
from prefect_cvat.annotations.request_bodies import SerializedAnnotation, serialize, shape_body
from prefect_cvat.frames import Frame, FrameDetections
from prefect_cvat.geometry.clip_at_image_edge import Clipping, clip_keypoint, clip_shape
from prefect_cvat.models import (
    AttributeValRequest,
    LabeledImageRequest,
    LabeledShapeRequest,
    ShapeType,
)
from prefect_cvat.planning.label_mapping import LabelMapping, LabelTarget, SublabelTarget
from prefect_cvat.planning.run_attributes import RunAttributes
from prefect_cvat.review.calibration import ShapeProbability
from prefect_cvat.review.frame_summary import FrameSummary, summarize_shapes
from prefect_cvat.review.score_histogram import score_bin
from prefect_cvat.review.uncertainty import ShapeJudge

__all__ = ["Annotations", "LabelRemapper"]


class Annotations:
    """The annotations to write for a batch, as the server's JSON objects.

    Not a dataclass, which Prefect would traverse.

    Attributes:
        tags: Tags, in the order of the frames.
        shapes: Shapes, in the order of the frames.
        frames: Number of processed frames.
        labels: Number of annotations by label of the task.
        scores: Number of annotations by label and score bin (see `score_bin`).
        clippings: Number of shapes that were clipped, reordered, outside the image, or empty.
        below_threshold: Number of annotations left out because of a score below the threshold.
        overlapping_existing: Number of annotations left out because they overlap existing ones.
        unmatched: Number of annotations left out because the task has no such label, by label.
        errors: Errors on skipped frames, by frame.
        summaries: Summaries of the frames for the review.
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
        """Serialize the tags and shapes, if there are at least this many: JSON takes less memory."""
        if len(self.tags) + len(self.shapes) >= at_least:
            # by frame, so that annotations of a frame can be written in one request
            self._packs.append(
                [serialize(each) for each in sorted([*self.tags, *self.shapes], key=itemgetter("frame"))]
            )
            self.tags = []
            self.shapes = []

    def packs(self) -> Iterator[list[dict[str, Any]]]:
        """Iterate over the serialized tags and shapes, pack by pack."""
        for pack in self._packs:
            yield [from_json(annotation.json) for annotation in pack]

    def serialized_packs(self) -> Iterator[list[SerializedAnnotation]]:
        """Iterate over the packs as JSON, as they are sent."""
        yield from self._packs

    def empty(self) -> None:
        """Release the tags and shapes; the counts stay."""
        self._packs = []
        self.tags = []
        self.shapes = []


class LabelRemapper:
    """Maps detections to the labels of the task.

    Args:
        mapping: The label mapping.
        thresholds: Minimum score of each label, 0 to 1, by the function's label ids.
        summarize: Whether to summarize each frame for the review.
        review_from: Minimum score of detections that count in the summaries although they are not written, by
            the function's label ids; None counts none.
        probability: The learned probability that a shape is right; None if nothing was learned.
        run_attributes: Attributes for score and model; None writes none.
        keep_all_parts: Whether a polygon or polyline that is clipped into several parts becomes several
            shapes. If not, only the largest part is kept: a track has one shape on a frame.
    """

    def __init__(
        self,
        mapping: LabelMapping,
        *,
        thresholds: Mapping[int, float] | None = None,
        summarize: bool = False,
        review_from: Mapping[int, float] | None = None,
        probability: ShapeProbability | None = None,
        run_attributes: RunAttributes | None = None,
        keep_all_parts: bool = True,
    ) -> None:
        self._mapping = mapping
        self._summarize = summarize
        self._review_from = review_from or {}
        self._probability = probability
        self._run_attributes = run_attributes if run_attributes and run_attributes.are_any else None
        self._all_parts = keep_all_parts
        self._thresholds = thresholds or {}

    def remap(
        self,
        detections: Iterable[FrameDetections],
        frames: Mapping[int, Frame],
        pack_at: int | None = None,
        existing: Mapping[int, ExistingOnFrame] | None = None,
    ) -> Annotations:
        """Convert detections to annotations of the task.

        Args:
            detections: Detections on frames, checked against this mapping.
            frames: The frames by number.
            pack_at: Serialize annotations whenever there are this many; None does not serialize.
            existing: The existing annotations on these frames, if overlaps with them are left out.
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
            unwritten: list[dict[str, Any]] = []
            for tag in found.tags:
                self._add_tag(tag, frame, result, there)
            for shape in found.shapes:
                if not self._add_shape(shape, frame, result, there) and self._summarize:
                    unwritten += self._unwritten(shape, frame, there)
            if self._summarize:
                # a frame whose detections all overlap existing annotations is not empty
                others = len(result.tags) - tags_before + result.overlapping_existing - overlapping_before
                written = result.shapes[shapes_before:]
                summary = summarize_shapes(
                    found.frame, written, others, unwritten=unwritten, judge=self._judge(frame)
                )
                summary.has_failed = found.error is not None
                result.summaries.append(summary)
            if pack_at is not None:
                result.pack(pack_at)
        return result

    def _judge(self, frame: Frame) -> ShapeJudge | None:
        """The learned probability that a shape on a frame is right."""
        return self._probability.on_image(frame.width, frame.height) if self._probability else None

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
    ) -> bool:
        """Add a shape; return whether its score is high enough."""
        score = shape.score
        if score is not None and score < self._thresholds.get(shape.label_id, 0.0):
            result.below_threshold += 1
            return False
        target = self._target(shape.label_id, result)
        if target is None:
            return True
        parts, clipping = clip_shape(shape, frame.width, frame.height)
        elements = None
        if shape.type is ShapeType.SKELETON:
            elements, clipping = self._elements(shape, frame, target)
            parts = parts if elements else ()
        if clipping is not None and not self._all_parts:
            parts = parts[:1]
        written = 0
        for points in parts:
            body = shape_body(shape, points, frame.number, target.id)
            has_attributes = shape.attributes or self._run_attributes is not None
            body["attributes"] = self._attributes(shape.attributes, target, score) if has_attributes else []
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
        return True

    def _unwritten(
        self, shape: LabeledShapeRequest, frame: Frame, there: ExistingOnFrame | None
    ) -> list[dict[str, Any]]:
        """A shape below the threshold as the review sees it; none if it does not count."""
        target = self._mapping.targets[shape.label_id]
        if target is None or (shape.score or 0.0) < self._review_from.get(shape.label_id, math.inf):
            return []
        bodies = [
            shape_body(shape, points, frame.number, target.id)
            for points in clip_shape(shape, frame.width, frame.height)[0][:1]
        ]
        if bodies and shape.type is ShapeType.SKELETON:
            bodies[0]["elements"], _ = self._elements(shape, frame, target)
        return [body for body in bodies if body.get("elements") != [] and not (there and there.include(body))]

    def _elements(
        self, skeleton: LabeledShapeRequest, frame: Frame, target: LabelTarget
    ) -> tuple[list[dict[str, Any]], Clipping | None]:
        """Convert the keypoints of a skeleton to the task's sublabels.

        A keypoint outside the image is moved to its border and marked `outside`.

        Returns:
            The keypoints, none if no keypoint is visible; and what was clipped, or None.
        """
        elements: list[dict[str, Any]] = []
        seen = beyond = 0
        for element in skeleton.elements:
            sublabel = target.sublabels[element.label_id]
            if sublabel is None:
                continue
            points, outside = clip_keypoint(element, frame.width, frame.height)
            body = shape_body(element, points, frame.number, sublabel.id)
            body["outside"] = outside
            beyond += outside and not element.outside
            seen += not outside
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
