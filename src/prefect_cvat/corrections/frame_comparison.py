"""Compares what runs have written on one frame with what is there now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from prefect_cvat.annotations.content_digest import AttributeDefaults, content_digest
from prefect_cvat.corrections.correction import Correction, CorrectionKind
from prefect_cvat.corrections.runs_on_task import RunsOnTask, Written
from prefect_cvat.corrections.shape_changes import is_moved
from prefect_cvat.geometry.bounding_box import WITHOUT_AREA, bounding_box
from prefect_cvat.geometry.iou import box_iou
from prefect_cvat.records.record_writer import AnnotationId

__all__ = ["Current", "FrameComparison", "Outcome"]

MIN_IOU = 0.5
"""Minimum IoU of the bounding boxes of a shape that is gone and one that was drawn in its place."""

MAX_PAIRS = 4_000_000
"""Maximum number of pairs of shapes whose IoU is computed on a frame: 32 MB."""

_IMPORTED = frozenset({"file", "consensus"})
"""Sources of annotations that no person has drawn in the task."""


class Current(NamedTuple):
    """An annotation that is in the task now.

    Attributes:
        job_id: The id of its job.
        key: Its kind and its id.
        body: The server's JSON object.
    """

    job_id: int
    key: AnnotationId
    body: dict[str, Any]


class Outcome(NamedTuple):
    """The corrections on a frame.

    Attributes:
        corrections: One for each annotation, `confirmed` also where nobody may have looked.
        is_corrected: Whether somebody has changed something.
    """

    corrections: list[Correction]
    is_corrected: bool


@dataclass
class FrameComparison:
    """Compares the annotations of one frame after the other.

    Attributes:
        runs: What runs have written.
        names: The names of the task's labels by id.
        defaults: The default attribute values.
        left_out: Number of annotations that could not be compared, by reason.
        differing_frames: Number of frames on which two jobs differ.
    """

    runs: RunsOnTask
    names: Mapping[int, str]
    defaults: AttributeDefaults
    left_out: Counter[str] = field(default_factory=Counter)
    differing_frames: int = 0

    def compare(self, written: Sequence[Written], current: Sequence[Current]) -> Outcome:
        """Compare what was written on a frame with what is there now.

        Annotations are matched by their ids. A shape that is gone is matched with one that nobody has written
        if their boxes overlap: first of the same label, then of any.
        """
        by_key = {each.key: each for each in current}
        found: list[Correction] = []
        is_corrected = False
        lost: list[Written] = []
        for each in written:
            now = by_key.pop(each.key, None)
            if now is not None:
                found.append(self._changed(each, now))
                is_corrected |= self._is_touched(each, now)
            elif each.key not in self.runs.replaced:
                lost.append(each)
        rest = []
        for now in by_key.values():
            if now.key in self.runs.without_content:
                found.append(self._without_content(now))
                is_corrected |= found[-1].kind != "confirmed"
            elif not self._is_known_before(now):
                rest.append(now)
        for each, now in self._matched(lost, rest):
            found.append(self._changed(each, now))
            is_corrected |= found[-1].kind != "confirmed"
        for each in lost:
            found.append(self._correction("deleted", each, None))
        for now in rest:
            found += self._unwritten(now)
        is_corrected |= bool(lost) or any(each.kind == "drawn" for each in found)
        return Outcome(found, is_corrected)

    def _is_known_before(self, now: Current) -> bool:
        """Whether an annotation that no run has written was there before the first run, by a person."""
        is_auto = now.body.get("source") == "auto"
        return not is_auto and self.runs.is_from_before(now.job_id, now.key)

    def _changed(self, written: Written, now: Current) -> Correction:
        moved = is_moved(written.body, now.body)
        if written.body["label_id"] != now.body["label_id"]:
            return self._correction("relabelled", written, now, moved=moved)
        return self._correction("moved" if moved else "confirmed", written, now, moved=moved)

    def _is_touched(self, written: Written, now: Current) -> bool:
        """Whether a person has changed anything, also an attribute, or moved a shape and moved it back."""
        return content_digest(written.body, self.defaults) != content_digest(now.body, self.defaults)

    def _without_content(self, now: Current) -> Correction:
        run, digest = self.runs.without_content[now.key]
        is_same = content_digest(now.body, self.defaults).hex() == digest
        if not is_same:
            self.left_out["changed since, but it is not known how: their runs are of an earlier version"] += 1
        kind: CorrectionKind = "confirmed" if is_same else "moved"
        written = Written(run, now.job_id, now.key, now.body) if is_same else None
        return self._correction(kind, written, now, run=run, moved=not is_same)

    def _unwritten(self, now: Current) -> Iterator[Correction]:
        source = now.body.get("source") or "manual"
        if source in _IMPORTED:
            self.left_out[f"of source {source!r}, which nobody has drawn here"] += 1
        elif source == "auto":
            self.left_out[
                "automatic, but of no recorded run: how many of these were deleted is not known"
            ] += 1
            written = Written(-1, now.job_id, now.key, now.body)
            yield self._correction("confirmed", written, now)
        else:
            yield self._correction("drawn", None, now)

    def _correction(
        self,
        kind: CorrectionKind,
        written: Written | None,
        now: Current | None,
        *,
        run: int | None = None,
        moved: bool = False,
    ) -> Correction:
        index = written.run if written is not None else -1 if run is None else run
        of_run = self.runs.runs[index] if index >= 0 else None
        body = now.body if now is not None else written.body if written is not None else {}
        first = written.body if written is not None else body
        return Correction(
            kind=kind,
            frame=first["frame"],
            label=self.names[body["label_id"]],
            written=None if written is None else written.body,
            current=None if now is None else now.body,
            function=None if of_run is None else of_run.function,
            run_key="" if of_run is None else of_run.run,
            written_label=None if written is None else self.names[written.body["label_id"]],
            is_moved=moved,
        )

    def _matched(self, lost: list[Written], rest: list[Current]) -> Iterator[tuple[Written, Current]]:
        """Match by overlap, the best overlap first; matched ones are removed from both lists."""
        if not lost or not rest:
            return
        if len(lost) * len(rest) > MAX_PAIRS:
            self.left_out["on frames with too many shapes to match what was deleted and drawn again"] += len(
                rest
            )
            return
        for same_label in (True, False):
            yield from self._match(lost, rest, same_label)

    def _match(
        self, lost: list[Written], rest: list[Current], same_label: bool
    ) -> Iterator[tuple[Written, Current]]:
        if not lost or not rest:
            return
        overlap = _overlaps([each.body for each in lost], [each.body for each in rest])
        if same_label:
            labels = np.array([each.body["label_id"] for each in lost])
            overlap[labels[:, None] != [each.body["label_id"] for each in rest]] = 0
        rows, columns = np.nonzero(overlap >= MIN_IOU)
        pairs: dict[int, int] = {}
        taken: set[int] = set()
        for place in np.argsort(-overlap[rows, columns], kind="stable").tolist():
            row, column = int(rows[place]), int(columns[place])
            if row not in pairs and column not in taken:
                pairs[row] = column
                taken.add(column)
        found = [(lost[row], rest[column]) for row, column in pairs.items()]
        lost[:] = [each for row, each in enumerate(lost) if row not in pairs]
        rest[:] = [now for column, now in enumerate(rest) if column not in taken]
        yield from found


def _overlaps(
    written: Sequence[Mapping[str, Any]], current: Sequence[Mapping[str, Any]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The IoU of bounding boxes; 1 for two equal tags, 0 for tracks and shapes without area."""
    iou = box_iou(_boxes(written), _boxes(current))
    tags = np.array(["type" not in each and "shapes" not in each for each in written])
    other_tags = np.array(["type" not in each and "shapes" not in each for each in current])
    labels = np.array([each["label_id"] for each in written])
    other_labels = np.array([each["label_id"] for each in current])
    iou[(tags[:, None] & other_tags) & (labels[:, None] == other_labels)] = 1.0
    return iou


def _boxes(bodies: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    boxes = [
        bounding_box(body) if "type" in body and body["type"] not in WITHOUT_AREA else (0.0, 0.0, 0.0, 0.0)
        for body in bodies
    ]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
