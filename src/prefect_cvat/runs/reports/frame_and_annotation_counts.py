"""Counts the frames and annotations of a run in its report, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.geometry.clip_at_image_edge import Clipping
from prefect_cvat.review.score_histogram import SCORE_BINS
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["MAX_FRAME_ERRORS", "count_batch", "count_clippings", "count_failed"]

MAX_FRAME_ERRORS = 1000
"""Maximum number of errors on frames in a report."""


def count_batch(report: RunReport, annotations: Annotations) -> None:
    """Add the frames and the annotations of a batch."""
    report.frames += annotations.frames
    report.batches += 1
    report.labels = dict(Counter(report.labels) + annotations.labels)
    for (label, number), count in annotations.scores.items():
        report.scores.setdefault(label, [0] * SCORE_BINS)[number] += count
    count_clippings(report, annotations.clippings)
    report.below_threshold += annotations.below_threshold
    report.overlapping_existing += annotations.overlapping_existing
    report.unmatched = dict(Counter(report.unmatched) + annotations.unmatched)
    count_failed(report, annotations.errors)


def count_failed(report: RunReport, errors: Mapping[int, str]) -> None:
    """Add errors on skipped frames, by frame."""
    report.frames_failed += len(errors)
    room = max(0, MAX_FRAME_ERRORS - len(report.frame_errors))
    report.frame_errors.update(islice(errors.items(), room))


def count_clippings(report: RunReport, counts: Mapping[Clipping, int]) -> None:
    """Add counts of clipped and dropped shapes."""
    report.clipped += counts.get(Clipping.CUT, 0)
    report.reordered += counts.get(Clipping.REORDERED, 0)
    report.outside += counts.get(Clipping.OUTSIDE, 0)
    report.empty_shapes += counts.get(Clipping.EMPTY, 0)
