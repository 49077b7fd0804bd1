"""Which frames of a video to look at first: where tracks are doubtful, and where they break off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prefect_cvat.frames import Frame
from prefect_cvat.geometry.iou import BoundingBox
from prefect_cvat.review.frame_ranking import FrameSummary
from prefect_cvat.review.uncertainty import Doubt

__all__ = ["SeenTrack", "TrackEnd", "summarize_ends", "summarize_tracks"]


EDGE = 0.02
"""What comes so close to an edge, as a share of the image's side, may be leaving the image."""


class TrackEnd(NamedTuple):
    """Where a track begins or ends.

    Attributes:
        frame: The first, or the last, frame that its object was found on.
        how: `begins` or `ends`.
        label_id: Its label.
        box: Where the object was.
    """

    frame: int
    how: str
    label_id: int
    box: BoundingBox


class SeenTrack:
    """An object of which detections were found: where, and how sure the function was of them.

    Args:
        frame: The first frame that it is on.
        doubt: What was found of it there.

    Attributes:
        label_id: Its label.
        detections: How often it was found.
        first: The first frame that it was found on.
        last: The last one.
    """

    __slots__ = ("_first_box", "_last_box", "_overlap", "_scores", "detections", "first", "label_id", "last")

    def __init__(self, frame: int, doubt: Doubt) -> None:
        self.label_id = doubt.label_id
        self.detections = 0
        self.first = frame
        self.last = frame
        self._first_box = doubt.box
        self._last_box = doubt.box
        self._scores = 0.0
        self._overlap: tuple[int, Doubt] = frame, doubt  # where it overlaps most with a surer one

    def add(self, frame: int, doubt: Doubt) -> None:
        """Take in what was found of it on a frame, also on the first."""
        self.last = frame
        self.detections += 1
        self._last_box = doubt.box
        self._scores += doubt.score
        if doubt.overlap > self._overlap[1].overlap:
            self._overlap = frame, doubt

    @property
    def doubt(self) -> tuple[int, Doubt]:
        """How doubtful it is as a whole, and the frame to judge it by."""
        frame, doubt = self._overlap
        return frame, doubt._replace(score=min(self._scores / self.detections, 1.0))

    @property
    def ends(self) -> tuple[TrackEnd, TrackEnd]:
        """Where it begins and where it ends."""
        return (
            TrackEnd(self.first, "begins", self.label_id, self._first_box),
            TrackEnd(self.last, "ends", self.label_id, self._last_box),
        )


def summarize_tracks(tracks: Iterable[SeenTrack], frames: Mapping[int, Frame]) -> list[FrameSummary]:
    """Sum up tracks by the frames that they are to be judged by; other frames are left out.

    Args:
        tracks: The tracks of a run.
        frames: The frames that were looked at, by number.
    """
    summaries: dict[int, FrameSummary] = {}
    ends: list[TrackEnd] = []
    for track in tracks:
        frame, doubt = track.doubt
        summaries.setdefault(frame, FrameSummary(frame, noun="track")).add_doubts([doubt])
        ends += track.ends
    _add_breaks(summaries, ends, frames)
    return list(summaries.values())


def summarize_ends(ends: Iterable[TrackEnd], frames: Mapping[int, Frame]) -> list[FrameSummary]:
    """The same for tracks of which only the ends are in doubt."""
    summaries: dict[int, FrameSummary] = {}
    _add_breaks(summaries, ends, frames)
    return list(summaries.values())


def _add_breaks(
    summaries: dict[int, FrameSummary], ends: Iterable[TrackEnd], frames: Mapping[int, Frame]
) -> None:
    """Count the ends that are none of the object: inside the image, and not where the frames end."""
    outermost = {"begins": min(frames, default=0), "ends": max(frames, default=0)}
    for end in ends:
        frame = frames[end.frame]
        if end.frame != outermost[end.how] and not _is_at_edge(end.box, frame.width, frame.height):
            summary = summaries.setdefault(end.frame, FrameSummary(end.frame, noun="track"))
            summary.add_break(end.how, end.label_id, end.box)


def _is_at_edge(box: BoundingBox, width: int, height: int) -> bool:
    """Whether what is in a box may be leaving, or coming into, an image of this size."""
    left, top, right, bottom = box
    across, down = EDGE * width, EDGE * height
    return left <= across or top <= down or right >= width - across or bottom >= height - down
