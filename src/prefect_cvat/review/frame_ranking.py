"""Ranks frames for review by the number of corrections that a human is expected to make.

The expected corrections of a frame are estimated without ground truth, as a sum:

- Each shape adds its uncertainty, 0 to 1 (`review/uncertainty.py`). A shape without a score adds 0.
- A shape of a rare label adds `RARE_CORRECTIONS` more. A label is rare if less than 1 % of shapes have it.
- A track adds its uncertainty once, by its mean score. If it begins or ends inside the image, and not on the
  first or last frame, its object was probably lost or confused with another one: this adds 1.
- A detection with a score below the confidence threshold, if the run has asked for them
  (`review_threshold`), adds the probability that it is an object which is now missed.
- A frame without any detection adds the fraction of frames that have detections.
- A frame on which the function failed adds the mean number of shapes per frame.

Scores of detectors are rarely calibrated, so the number is useful for ranking, not as a forecast. Where
corrections have taught how often shapes are right and how many objects are missed (`review/calibration.py`),
it is a forecast: the uncertainties are probabilities, and missed objects add up to as many as were drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nsmallest

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.geometry.bounding_box import BoundingBox
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job
from prefect_cvat.review.frame_summary import LOW_SCORE, FrameSummaries, FrameSummary

__all__ = ["FrameReview", "rank_frames"]

RARE_FRACTION = 0.01
"""A label is rare if fewer than this fraction of all shapes have it."""

RARE_CORRECTIONS = 0.5
"""Expected corrections of a shape because its label is rare."""


MAX_MISSED_FACTOR = 2.0
"""How many times the objects that corrections have shown to be missed may be expected to be missed: on few
corrections the number is uncertain."""


class FrameReview(BaseModel):
    """A frame to review.

    Attributes:
        frame: Its number.
        job_id: The first job that contains it.
        url: Its address in CVAT.
        expected_corrections: The expected number of corrections.
        reasons: Why corrections are expected.
        doubts: The kinds of doubt behind the reasons: `failed`, `nothing detected`, `low score`,
            `may be missed`, `overlap`, `rare label`, `track break`.
        box: The bounding box of the most uncertain shape: left, top, right, bottom, in pixels. None if the
            reasons concern the whole frame.
    """

    model_config = ConfigDict(extra="forbid")

    frame: int
    job_id: int
    url: str
    expected_corrections: float
    reasons: list[str]
    doubts: list[str] = Field(default_factory=list)
    box: BoundingBox | None = None


def rank_frames(
    summaries: FrameSummaries,
    *,
    labels: Mapping[int, str],
    jobs: Sequence[Job],
    url: str,
    max_frames: int,
    missed_per_frame: float | None = None,
) -> list[FrameReview]:
    """Rank frames by expected corrections, most first; frames with equally many in ascending order.

    Args:
        summaries: The summaries of all frames of a run.
        labels: The names of the task's labels, by id.
        jobs: The jobs that the run wrote to.
        url: The task's address in CVAT.
        max_frames: The maximum number of frames. Frames without expected corrections are left out.
        missed_per_frame: The mean number of objects that were missed on a frame, as corrections have shown;
            None if nothing was learned.
    """
    run = _Run(summaries, labels, missed_per_frame)
    first = nsmallest(
        max_frames,
        (
            (-run.expected_corrections(summary), summary.frame, index, summary)
            for index, summary in enumerate(summaries)
        ),
    )
    reviews = []
    for negative_corrections, frame, _, summary in first:
        if not negative_corrections:
            break
        job_id = next(job.id for job in jobs if job.start_frame <= frame <= job.stop_frame)
        reviews.append(
            FrameReview(
                frame=frame,
                job_id=job_id,
                # CVAT's job page takes the frame's number in the task, not in the job
                url=f"{url}/jobs/{job_id}?frame={frame}",
                expected_corrections=-negative_corrections,
                reasons=run.reasons(summary),
                doubts=run.doubts(summary),
                box=None if summary.box is None else _rounded(summary.box),
            )
        )
    return reviews


class _Run:
    """What is known from all frames together: which labels are rare, the mean number of shapes per frame."""

    def __init__(
        self, summaries: FrameSummaries, names: Mapping[int, str], missed_per_frame: float | None
    ) -> None:
        self._names = names
        self._frames, self._empty = summaries.frames, summaries.empty
        done = summaries.frames - summaries.failed
        total = summaries.labels.total()
        self._rare = {label for label, count in summaries.labels.items() if count < RARE_FRACTION * total}
        self._nonempty_fraction = 1 - self._empty / done if done else 0.0
        self._mean_count = total / done if done else 0.0
        per_frame = summaries.expected_missed / max(done, 1)
        missed = per_frame if missed_per_frame is None else missed_per_frame
        self._rest_missed = max(0.0, missed - per_frame)
        self._missed_scale = min(1.0, MAX_MISSED_FACTOR * missed / per_frame) if per_frame else 1.0

    def expected_corrections(self, summary: FrameSummary) -> float:
        """The expected corrections, rounded as they are shown, so that equal numbers are ordered by frame."""
        rare_shapes = sum(count for label, count in summary.labels if label in self._rare)
        corrections = summary.expected_corrections + RARE_CORRECTIONS * rare_shapes
        if summary.has_failed:
            corrections += max(1.0, self._mean_count)
        else:
            corrections += self._missed(summary)
        return round(corrections, 2)

    def _missed(self, summary: FrameSummary) -> float:
        """The expected number of objects that are missed on a frame.

        Detections below the threshold say on which frames. Where corrections have shown how many are missed,
        and the detections are fewer, nothing says where the rest is, and every frame gets the same share of
        it. If they would be more than `MAX_MISSED_FACTOR` times as many, each counts less.
        """
        missed = self._missed_scale * summary.expected_missed
        if summary.is_empty:
            missed = max(missed, self._nonempty_fraction)
        return missed + self._rest_missed

    def reasons(self, summary: FrameSummary) -> list[str]:
        """Why corrections are expected."""
        reasons = []
        if summary.has_failed:
            reasons.append("not annotated: the function failed")
        elif summary.is_empty:
            reasons.append(f"nothing detected, as on {self._empty} of {pluralize(self._frames, 'frame')}")
        shapes = pluralize(summary.count, summary.noun)
        if summary.low_scores:
            reasons.append(f"{summary.low_scores} of {shapes} below {LOW_SCORE}")
        elif summary.min_score < 1:
            reasons.append(f"{shapes}, lowest score {summary.min_score:.2f}")
        if summary.unwritten:
            below = pluralize(summary.unwritten, "detection")
            reasons.append(f"{below} not written, best score {summary.best_unwritten:.2f}: may be missed")
        if summary.closest is not None:
            pair = f"{self._name(summary.closest.label_id)}/{self._name(summary.closest.other_label_id)}"
            reasons.append(f"{summary.overlaps} overlapping: {pair} IoU {summary.closest.iou:.2f}")
        if rare := [self._name(label) for label, _ in summary.labels if label in self._rare]:
            reasons.append(f"rare label: {', '.join(rare)}")
        for how in sorted({how for how, _ in summary.breaks}):
            broken = Counter(self._name(label) for other, label in summary.breaks if other == how)
            names = ", ".join(name if n == 1 else f"{n} {name}" for name, n in sorted(broken.items()))
            reasons.append(f"track {how} here: {names}")
        return reasons

    def doubts(self, summary: FrameSummary) -> list[str]:
        """The kinds of doubt about a frame."""
        kinds = {
            "failed": summary.has_failed,
            "nothing detected": summary.is_empty,
            "low score": summary.low_scores > 0,
            "may be missed": summary.unwritten > 0,
            "overlap": summary.closest is not None,
            "rare label": any(label in self._rare for label, _ in summary.labels),
            "track break": bool(summary.breaks),
        }
        return [kind for kind, is_present in kinds.items() if is_present]

    def _name(self, label_id: int) -> str:
        return self._names.get(label_id, f"label {label_id}")


def _rounded(box: BoundingBox) -> BoundingBox:
    left, top, right, bottom = (round(number, 2) for number in box)
    return left, top, right, bottom
