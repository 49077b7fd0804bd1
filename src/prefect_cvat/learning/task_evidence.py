"""Reduces the corrections of a task to what can be learned from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

from prefect_cvat.corrections import Correction, TaskCorrections
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.bounding_box import BoundingBox, area, bounding_box, common_box
from prefect_cvat.records.record_writer import RecordHeader
from prefect_cvat.review.evidence import Evidence, group_of, is_at_edge
from prefect_cvat.review.learned import Confusion, TaskEvidence
from prefect_cvat.review.uncertainty import measure_uncertainty

__all__ = ["CorrectionCounts", "read_evidence"]

MIN_IOU = 0.5
"""Minimum IoU of the bounding boxes of a written shape and the corrected one for the written one to be right,
as in the evaluation: a box that was nudged has found its object."""


@dataclass
class CorrectionCounts:
    """Numbers of corrections.

    Attributes:
        kinds: Corrections by kind.
        without_score: Annotations of runs without a score: tags, tracks, and shapes of some functions. They
            say nothing about scores.
        of_no_run: Automatic annotations of no recorded run: their function is not known.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    without_score: int = 0
    of_no_run: int = 0


class _OfVersion:
    """The evidence about one version of a function."""

    def __init__(self, headers: Sequence[RecordHeader]) -> None:
        self.shapes = Evidence()
        self.confusions: Counter[tuple[str, str]] = Counter()
        self.missed: Counter[str] = Counter()
        self.frames = 0
        self.headers = headers
        self.labels: dict[str, str | None] = {}
        for header in headers:
            self.labels |= header.provenance.labels

    def add(self, corrections: Sequence[Correction], frame: Frame) -> None:
        """Add the shapes with scores of a frame."""
        written = [each.written for each in corrections if each.written is not None]
        share = 1 / (frame.width * frame.height)
        for each, shape in zip(corrections, measure_uncertainty(written), strict=True):
            label = each.written_label or each.label
            group = group_of(
                label,
                shape.score,
                area(shape.box) * share,
                is_at_edge(shape.box, frame.width, frame.height),
                shape.iou,
            )
            self.shapes.add(group, _is_right(each, shape.box))
            if each.kind == "relabelled":
                self.confusions[label, each.label] += 1

    def finds(self, label: str) -> bool:
        """Whether the function has a label of this name in the task; unknown counts as yes."""
        return not self.labels or label in self.labels.values()

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: the runs were undone, or nobody has looked at their frames."""
        return not self.frames and not self.shapes.total

    def evidence(self) -> TaskEvidence:
        """The evidence as it is stored."""
        last = self.headers[-1]
        return TaskEvidence(
            shapes=self.shapes.rows(),
            frames=self.frames,
            missed=dict(self.missed),
            confusions=[
                Confusion(written=written, corrected=corrected, count=count)
                for (written, corrected), count in self.confusions.most_common()
            ],
            labels=self.labels,
            runs=[header.run for header in self.headers],
            learned_labels=last.provenance.learned_labels,
            version=last.provenance.version,
            started=last.started,
            learned=datetime.now(UTC),
        )


def read_evidence(
    done: TaskCorrections, headers: Sequence[RecordHeader]
) -> tuple[dict[str, list[TaskEvidence]], CorrectionCounts]:
    """Read the corrections of a task.

    Args:
        done: The corrections.
        headers: The headers of the records of the runs on the task, in the order of their start.

    Returns:
        The evidence by the name of the function, for each of its versions, and numbers of corrections.
        Objects that people have drawn count as missed by each version that has processed the frame and has
        their label.
    """
    grouped: dict[tuple[str, str | None], list[RecordHeader]] = {}
    for header in headers:
        grouped.setdefault((header.provenance.function, header.provenance.version), []).append(header)
    versions = {key: _OfVersion(of_version) for key, of_version in grouped.items()}
    of_run = {header.run: versions[key] for key, of_version in grouped.items() for header in of_version}
    counts = CorrectionCounts()
    frames: Mapping[int, Frame] = done.frames.by_number

    def in_force_on(frame: int) -> set[_OfVersion]:
        return {of_run[run] for run in done.in_force_on(frame)}

    for number in frames:
        for version in in_force_on(number):
            version.frames += 1
    for number, corrections in groupby(done, key=attrgetter("frame")):
        scored, drawn = _count(corrections, counts)
        by_version: dict[_OfVersion, list[Correction]] = {}
        for each in scored:
            by_version.setdefault(of_run[each.run_key], []).append(each)
        for version, of_frame in by_version.items():
            version.add(of_frame, frames[number])
        for version in in_force_on(number) if drawn else ():
            version.missed.update(label for label in drawn if version.finds(label))
    found: dict[str, list[TaskEvidence]] = {}
    for (name, _), version in versions.items():
        if not version.is_empty:
            found.setdefault(name, []).append(version.evidence())
    return found, counts


def _count(corrections: Iterable[Correction], counts: CorrectionCounts) -> tuple[list[Correction], list[str]]:
    """Count the corrections of a frame; return those of shapes with scores, and labels of drawn objects."""
    scored: list[Correction] = []
    drawn: list[str] = []
    for each in corrections:
        counts.kinds[each.kind] += 1
        if each.kind == "drawn":
            drawn.append(each.label)
        elif each.function is None:
            counts.of_no_run += 1
        elif each.score is None:
            counts.without_score += 1
        else:
            scored.append(each)
    return scored, drawn


def _is_right(correction: Correction, box: BoundingBox) -> bool:
    """Whether a shape has found its object, under its label."""
    if correction.kind == "moved" and correction.current is not None:
        now = bounding_box(correction.current)
        common = area(common_box(box, now))
        return common >= MIN_IOU * (area(box) + area(now) - common)
    return correction.kind == "confirmed"
