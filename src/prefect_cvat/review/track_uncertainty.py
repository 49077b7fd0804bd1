"""Summaries of the tracks of a video for review: uncertain tracks, and tracks that begin or end inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prefect_cvat.frames import Frame
from prefect_cvat.geometry.boxes import BoundingBox
from prefect_cvat.review.frame_ranking import FrameSummary
from prefect_cvat.review.uncertainty import Uncertainty

__all__ = ["TrackEnd", "TrackSummary", "summarize_ends", "summarize_tracks"]

EDGE = 0.02
"""An object this close to the edge may be leaving the image; a fraction of the image's width or height."""


class TrackEnd(NamedTuple):
    """The beginning or the end of a track.

    Attributes:
        frame: The first or the last frame on which its object was detected.
        how: `begins` or `ends`.
        label_id: Its label.
        box: The bounding box of the object on that frame, in pixels.
    """

    frame: int
    how: str
    label_id: int
    box: BoundingBox


class TrackSummary:
    """The frames, boxes and scores of the detections of a track.

    Args:
        frame: The first frame.
        detection: Its detection there; it is not added yet.

    Attributes:
        label_id: Its label.
        detections: The number of its detections.
        first: The first frame with a detection.
        last: The last frame with a detection.
    """

    __slots__ = (
        "_first_box",
        "_last_box",
        "_most_overlapping",
        "_score_sum",
        "detections",
        "first",
        "label_id",
        "last",
    )

    def __init__(self, frame: int, detection: Uncertainty) -> None:
        self.label_id = detection.label_id
        self.detections = 0
        self.first = frame
        self.last = frame
        self._first_box = detection.box
        self._last_box = detection.box
        self._score_sum = 0.0
        self._most_overlapping: tuple[int, Uncertainty] = frame, detection

    def add(self, frame: int, detection: Uncertainty) -> None:
        """Add a detection. Frames ascend, beginning with the first one."""
        self.last = frame
        self.detections += 1
        self._last_box = detection.box
        self._score_sum += detection.score
        if detection.iou > self._most_overlapping[1].iou:
            self._most_overlapping = frame, detection

    @property
    def uncertainty(self) -> tuple[int, Uncertainty]:
        """The frame to review the track on, and how uncertain the track is.

        It is the frame with the highest IoU with another detection, or else the first one; the score is the
        mean of all scores.
        """
        frame, detection = self._most_overlapping
        return frame, detection._replace(score=min(self._score_sum / self.detections, 1.0))

    @property
    def ends(self) -> tuple[TrackEnd, TrackEnd]:
        """The beginning and the end."""
        return (
            TrackEnd(self.first, "begins", self.label_id, self._first_box),
            TrackEnd(self.last, "ends", self.label_id, self._last_box),
        )


def summarize_tracks(tracks: Iterable[TrackSummary], frames: Mapping[int, Frame]) -> list[FrameSummary]:
    """Summarize tracks by the frames to review them on. Frames without such a track are left out.

    Args:
        tracks: The tracks of a run.
        frames: The frames that the run processed, by number.
    """
    summaries: dict[int, FrameSummary] = {}
    ends: list[TrackEnd] = []
    for track in tracks:
        frame, uncertainty = track.uncertainty
        summaries.setdefault(frame, FrameSummary(frame, noun="track")).add([uncertainty])
        ends += track.ends
    _add_breaks(summaries, ends, frames)
    return list(summaries.values())


def summarize_ends(ends: Iterable[TrackEnd], frames: Mapping[int, Frame]) -> list[FrameSummary]:
    """Summarize tracks of which only the ends are uncertain.

    Args:
        ends: Their ends.
        frames: The frames that the run processed, by number.
    """
    summaries: dict[int, FrameSummary] = {}
    _add_breaks(summaries, ends, frames)
    return list(summaries.values())


def _add_breaks(
    summaries: dict[int, FrameSummary], ends: Iterable[TrackEnd], frames: Mapping[int, Frame]
) -> None:
    """Add the ends that are inside the image and not on the first or last frame."""
    outermost = {"begins": min(frames, default=0), "ends": max(frames, default=0)}
    for end in ends:
        frame = frames[end.frame]
        if end.frame != outermost[end.how] and not _is_at_edge(end.box, frame.width, frame.height):
            summary = summaries.setdefault(end.frame, FrameSummary(end.frame, noun="track"))
            summary.add_break(end.how, end.label_id, end.box)


def _is_at_edge(box: BoundingBox, width: int, height: int) -> bool:
    """Whether an object with this box may be leaving or entering an image of this size."""
    left, top, right, bottom = box
    margin_x, margin_y = EDGE * width, EDGE * height
    return left <= margin_x or top <= margin_y or right >= width - margin_x or bottom >= height - margin_y
