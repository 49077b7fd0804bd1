"""Reads the source shapes of a tracking run from its jobs."""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from pydantic_core import to_json

from prefect_cvat.annotations.content_digest import attribute_defaults, content_digest
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.geometry.clip_at_image_edge import is_empty
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import Label
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.planning.plan import Plan
from prefect_cvat.records.annotation_index import StoredAnnotation
from prefect_cvat.tracking.open_track import MutableAttributes
from prefect_cvat.tracking.source_shapes import COPY, SourceShapes

__all__ = ["SourceShapeReader"]

_COPY = struct.Struct("<12sqqIqqB??")
_LEFT_OUT = np.dtype([("digest", "<u8"), ("digest_rest", "<u4"), ("reason", "<u4")])


class SourceShapeReader:
    """Reads the shapes to track from the jobs of a task.

    Args:
        plan: The plan of the run. Shapes on other frames are ignored.
        options: Which shapes are tracked.
        types: The types of shapes that the function can track.

    Attributes:
        duplicates: Ids of jobs, each with a track of an earlier run that duplicates another track of the job.

    Raises:
        ValueError: The options name a label or a frame that the task does not have.
    """

    def __init__(self, plan: Plan, options: ShapeTrackingOptions, types: Collection[str]) -> None:
        info = plan.info
        size = info.meta.size
        end = math.inf if info.through_jobs else size
        if options.until is not None and not 0 <= options.until < end:
            raise ValueError(
                f"task {info.task.id} has the frames 0-{size - 1}; it has no frame {options.until}"
            )
        self.duplicates: list[tuple[int, StoredAnnotation]] = []
        self._task_id = info.task.id
        self._options = options
        self._types = sorted(set(types) - {"skeleton"})  # the tracking interface has no elements
        self._frames = plan.frames
        self._labels = self._wanted(info.labels)
        self._defaults = attribute_defaults(info.labels)
        self._mutable = MutableAttributes(info.labels).defaults
        self._copies = bytearray()
        self._contents = LinesByFrame()
        self._reasons: list[str] = []
        self._left_out = bytearray()

    def read(self, job_id: int, annotations: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Read the shapes and tracks of a job.

        Args:
            job_id: The job.
            annotations: Kinds and annotations, shapes before tracks, as `Client.iter_job_annotations` yields
                them.
        """
        first = len(self._copies)
        places = array("Q")
        in_tracks = {source: array("Q") for source in ("auto", "semi-auto")}
        tracks: set[bytes] = set()
        for kind, annotation in annotations:
            if kind == "shapes":
                if self._read_shape(job_id, annotation):
                    places.append(self._place(annotation))
            elif kind == "tracks" and (source := annotation.get("source")) in ("auto", "semi-auto"):
                digest = content_digest(annotation, self._defaults)
                if digest in tracks and self._may_be_result(annotation):
                    self.duplicates.append((job_id, (kind, annotation["id"], digest)))
                tracks.add(digest)
                if places:
                    in_tracks[source].extend(map(self._place, _keyframes(annotation)))
        if places:
            # an automatic track does not prove that a manual shape there has been tracked
            copies = np.frombuffer(self._copies, COPY, offset=first)  # a view
            copies["is_in_track"] = np.isin(places, in_tracks["semi-auto"]) | (
                copies["is_auto"] & np.isin(places, in_tracks["auto"])
            )

    def source_shapes(self) -> SourceShapes:
        """The source shapes read so far."""
        return SourceShapes(np.frombuffer(self._copies, COPY), self._contents, self._labels)

    def left_out(self) -> Counter[str]:
        """Number of selected shapes that are not tracked, by reason; copies in several jobs count once."""
        reasons = np.unique(np.frombuffer(self._left_out, _LEFT_OUT))["reason"]
        counts = np.bincount(reasons, minlength=len(self._reasons)).tolist()
        return Counter(dict(zip(self._reasons, counts, strict=True)))

    def why_nothing(self) -> str:
        """Why there is nothing to track and no duplicate to remove; empty if there is something."""
        if self._copies or self.duplicates:
            return ""
        sources = self._options.sources
        which = "of a source other than 'auto'" if sources is None else f"of source {' or '.join(sources)}"
        if self._options.labels is not None:
            which += f" and label {' or '.join(map(repr, self._options.labels))}"
        text = f"task {self._task_id} has no shapes to track {which}, on the frames and in the jobs selected"
        if left_out := self.left_out():
            text += f"; left out: {', '.join(f'{count} {why}' for why, count in left_out.items())}"
        return text

    def _wanted(self, labels: Sequence[Label]) -> dict[int, Label]:
        names = self._options.labels
        known = {label.name for label in labels}
        if strangers := sorted(set(names or ()) - known):
            raise ValueError(
                f"task {self._task_id} has no label {quoted_list(strangers)};"
                f" it has {quoted_list(sorted(known))}"
                f"{did_you_mean(strangers[0], known)}"
            )
        return {label.id: label for label in labels if names is None or label.name in names}

    def _read_shape(self, job_id: int, shape: Mapping[str, Any]) -> bool:
        """Add a shape; return whether it will be tracked."""
        sources = self._options.sources
        source = shape.get("source") or "manual"
        if source not in sources if sources is not None else source == "auto":
            return False
        frame = shape["frame"]
        if shape["label_id"] not in self._labels or not self._frames.has(frame):
            return False
        digest = content_digest(shape, self._defaults)
        if (why := self._why_left_out(shape)) is not None:
            if why not in self._reasons:
                self._reasons.append(why)
            self._left_out += digest + self._reasons.index(why).to_bytes(4, "little")
            return False
        row = len(self._copies) // COPY.itemsize
        self._copies += _COPY.pack(
            digest,
            job_id,
            shape["id"],
            frame,
            shape["label_id"],
            shape.get("group") or 0,
            self._types.index(shape["type"]),
            source == "auto",
            False,
        )
        self._contents.add(frame, to_json([row, shape]))
        return True

    def _why_left_out(self, shape: Mapping[str, Any]) -> str | None:
        if shape["type"] not in self._types:
            return f"{shape['type']}, which the function cannot track"
        if is_empty(shape["type"], shape["points"]):
            return "empty"
        until, frame = self._options.until, shape["frame"]
        if until is not None and (frame < until if self._options.direction == "backward" else frame > until):
            return f"beyond frame {until}"
        return None

    def _may_be_result(self, track: Mapping[str, Any]) -> bool:
        """Whether a run with these options may have made a track; of manual shapes it is `semi-auto`."""
        sources = self._options.sources
        is_of_source = track["source"] == "semi-auto" or (sources is not None and "auto" in sources)
        return is_of_source and track["label_id"] in self._labels

    def _place(self, shape: Mapping[str, Any]) -> int:
        """A digest that a source shape shares with the keyframe that was made of it."""
        defaults = self._mutable.get(shape["label_id"], {})
        values = {key: value for key, value in _values(shape).items() if key in defaults}
        content = [
            *(shape["frame"], shape["label_id"], shape["type"], shape.get("group") or 0),
            [round(float(number), 3) for number in shape.get("points") or ()],
            round(float(shape.get("rotation") or 0.0), 3),
            *(bool(shape.get("occluded")), shape.get("z_order") or 0),
            sorted({**defaults, **values}.items()),
        ]
        return int.from_bytes(blake2b(to_json(content), digest_size=8).digest())


def _keyframes(track: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The visible keyframes of a track, as shapes."""
    attributes: dict[int, str] = {}
    for shape in sorted(track["shapes"], key=lambda shape: int(shape["frame"])):
        attributes |= _values(shape)  # CVAT 2.73: a missing attribute has its value of the previous keyframe
        if not shape.get("outside"):
            yield {
                **shape,
                "label_id": track["label_id"],
                "group": track.get("group"),
                "attributes": [{"spec_id": key, "value": value} for key, value in attributes.items()],
            }


def _values(owner: Mapping[str, Any]) -> dict[int, str]:
    return {item["spec_id"]: item["value"] for item in owner.get("attributes") or ()}
