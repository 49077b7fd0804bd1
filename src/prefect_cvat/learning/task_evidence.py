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
    """

    kinds: Counter[str] = field(default_factory=Counter)
    without_score: int = 0


class _OfFunction:
    """The evidence about one function."""

    def __init__(self, headers: Sequence[RecordHeader]) -> None:
        self.shapes = Evidence()
        self.confusions: Counter[tuple[str, str]] = Counter()
        self.missed: Counter[str] = Counter()
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

    def evidence(self, frames: int) -> TaskEvidence:
        """The evidence as it is stored."""
        return TaskEvidence(
            shapes=self.shapes.rows(),
            frames=frames,
            missed=dict(self.missed),
            confusions=[
                Confusion(written=written, corrected=corrected, count=count)
                for (written, corrected), count in self.confusions.most_common()
            ],
            labels=self.labels,
            runs=[header.run for header in self.headers],
            function_version=self.headers[-1].provenance.function_version,
            learned=datetime.now(UTC),
        )


def read_evidence(
    done: TaskCorrections, headers: Sequence[RecordHeader]
) -> tuple[dict[str, TaskEvidence], CorrectionCounts]:
    """Read the corrections of a task.

    Args:
        done: The corrections.
        headers: The headers of the records of the runs on the task, in the order of their start.

    Returns:
        The evidence by the name of the function, and numbers of corrections. Objects that people have drawn
        count as missed by each function of the task that has their label.
    """
    by_function: dict[str, list[RecordHeader]] = {}
    for header in headers:
        by_function.setdefault(header.provenance.function, []).append(header)
    functions = {name: _OfFunction(of_function) for name, of_function in by_function.items()}
    counts = CorrectionCounts()
    frames: Mapping[int, Frame] = done.frames.by_number
    for number, corrections in groupby(done, key=attrgetter("frame")):
        scored = _count(corrections, functions, counts)
        for name, of_frame in scored.items():
            functions[name].add(of_frame, frames[number])
    return {name: each.evidence(len(done.frames)) for name, each in functions.items()}, counts


def _count(
    corrections: Iterable[Correction], functions: Mapping[str, _OfFunction], counts: CorrectionCounts
) -> dict[str, list[Correction]]:
    """Count the corrections of a frame; return those of shapes with scores, by function."""
    scored: dict[str, list[Correction]] = {}
    for each in corrections:
        counts.kinds[each.kind] += 1
        if each.kind == "drawn":
            for of_function in functions.values():
                of_function.missed[each.label] += of_function.finds(each.label)
        elif each.function is not None and each.score is not None:
            scored.setdefault(each.function, []).append(each)
        else:
            counts.without_score += 1
    return scored


def _is_right(correction: Correction, box: BoundingBox) -> bool:
    """Whether a shape has found its object, under its label."""
    if correction.kind == "moved" and correction.current is not None:
        now = bounding_box(correction.current)
        common = area(common_box(box, now))
        return common >= MIN_IOU * (area(box) + area(now) - common)
    return correction.kind == "confirmed"
