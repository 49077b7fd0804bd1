"""Which frames of a video to look at first: where tracks are doubtful, and where they break off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic_core import from_json, to_json

from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.iou import BoundingBox
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.review.frame_ranking import FrameSummary
from prefect_cvat.review.uncertainty import Doubt

__all__ = ["SeenTrack", "SeenTracks", "TrackEnd", "TrackSummaries"]

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


class TrackSummaries:
    """What is to be judged of tracks, by frame; on disk until the run has come to its end."""

    def __init__(self) -> None:
        self._lines = LinesByFrame()

    def add(self, track: SeenTrack) -> None:
        """Take in a track: how doubtful it is, and where it begins and ends."""
        frame, doubt = track.doubt
        self._lines.add(frame, to_json(doubt))
        for end in track.ends:
            self.add_end(end)

    def add_end(self, end: TrackEnd) -> None:
        """Take in where a track begins or ends."""
        self._lines.add(end.frame, to_json(end))

    def each(self, frames: Mapping[int, Frame]) -> Iterator[FrameSummary]:
        """Sum up the tracks by the frames that they are to be judged by; other frames are left out.

        Ends count that are none of the object: inside the image, and not where the frames end.

        Args:
            frames: The frames that were looked at, by number.
        """
        outermost = {"begins": min(frames, default=0), "ends": max(frames, default=0)}
        for number in self._lines.frames():
            told = [from_json(line) for line in self._lines.of(number)]
            ends, doubts = [], []
            for each in told:
                if each[1] in outermost:
                    frame_number, how, label_id, box = each
                    ends.append(TrackEnd(frame_number, how, label_id, _box(box)))
                else:
                    label_id, score, box, overlap, other = each
                    doubts.append(Doubt(label_id, score, _box(box), overlap, other))
            summary = FrameSummary(number, noun="track")
            summary.add_doubts(doubts)
            frame = frames[number]
            for end in ends:
                if number != outermost[end.how] and not _is_at_edge(end.box, frame.width, frame.height):
                    summary.add_break(end.how, end.label_id, end.box)
            if doubts or summary.breaks:
                yield summary


class SeenTracks:
    """The objects of a run that tracks: in memory are those that may yet be seen again.

    Args:
        options: How long a track must be, and after which gap an object is another one.

    Attributes:
        labels: How many tracks of each label there are, by id.
        frames: How many frames they are long, all together.
        untracked: How many detections belong to objects that were found too seldom.
        summaries: What is to be judged of the tracks.
    """

    def __init__(self, options: TrackOptions) -> None:
        self.labels: Counter[int] = Counter()
        self.frames = 0
        self.untracked = 0
        self.summaries = TrackSummaries()
        self._options = options
        self._open: dict[int, SeenTrack] = {}

    def add(self, frame: int, found: Iterable[tuple[int, Doubt]]) -> None:
        """Take what was found on the next frame: the numbers of objects, and how doubtful they are."""
        for number, track in list(self._open.items()):
            if frame - track.last > self._options.max_gap:
                self._end(number)
        for number, doubt in found:
            self._open.setdefault(number, SeenTrack(frame, doubt)).add(frame, doubt)

    def finish(self) -> None:
        """Say that there are no more frames."""
        for number in list(self._open):
            self._end(number)

    def _end(self, number: int) -> None:
        track = self._open.pop(number)
        if track.detections < self._options.min_length:
            self.untracked += track.detections
            return
        self.labels[track.label_id] += 1
        self.frames += track.last - track.first + 1
        self.summaries.add(track)


def _box(numbers: Iterable[float]) -> BoundingBox:
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _is_at_edge(box: BoundingBox, width: int, height: int) -> bool:
    """Whether what is in a box may be leaving, or coming into, an image of this size."""
    left, top, right, bottom = box
    across, down = EDGE * width, EDGE * height
    return left <= across or top <= down or right >= width - across or bottom >= height - down
