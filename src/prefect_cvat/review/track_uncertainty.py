"""Summaries of the tracks of a video for review: uncertain tracks, and tracks that begin or end inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic_core import from_json, to_json

from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.bounding_box import BoundingBox
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.review.evidence import is_at_edge
from prefect_cvat.review.frame_summary import FrameSummary
from prefect_cvat.review.uncertainty import Uncertainty

__all__ = ["TrackCollector", "TrackEnd", "TrackSummaries", "TrackSummary"]


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
        "_probability_sum",
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
        self._probability_sum = 0.0
        self._most_overlapping: tuple[int, Uncertainty] = frame, detection

    def add(self, frame: int, detection: Uncertainty) -> None:
        """Add a detection. Frames ascend, beginning with the first one."""
        self.last = frame
        self.detections += 1
        self._last_box = detection.box
        self._score_sum += detection.score
        self._probability_sum += detection.probability or 0.0
        if detection.iou > self._most_overlapping[1].iou:
            self._most_overlapping = frame, detection

    @property
    def uncertainty(self) -> tuple[int, Uncertainty]:
        """The frame to review the track on, and how uncertain the track is.

        It is the frame with the highest IoU with another detection, or else the first one; score and
        probability are the means of all detections.
        """
        frame, detection = self._most_overlapping
        probability = detection.probability
        if probability is not None:
            probability = self._probability_sum / self.detections
        score = min(self._score_sum / self.detections, 1.0)
        return frame, detection._replace(score=score, probability=probability)

    @property
    def ends(self) -> tuple[TrackEnd, TrackEnd]:
        """The beginning and the end."""
        return (
            TrackEnd(self.first, "begins", self.label_id, self._first_box),
            TrackEnd(self.last, "ends", self.label_id, self._last_box),
        )


class TrackSummaries:
    """Summaries of tracks by frame, on disk until the run ends."""

    def __init__(self) -> None:
        self._lines = LinesByFrame()

    def add(self, track: TrackSummary) -> None:
        """Add a track: its uncertainty, its beginning and its end."""
        frame, uncertainty = track.uncertainty
        self._lines.add(frame, to_json(uncertainty))
        for end in track.ends:
            self.add_end(end)

    def add_end(self, end: TrackEnd) -> None:
        """Add the beginning or the end of a track."""
        self._lines.add(end.frame, to_json(end))

    def each(self, frames: Mapping[int, Frame]) -> Iterator[FrameSummary]:
        """Summarize tracks by the frames to review them on. Frames without such a track are left out.

        Of the ends, only those inside the image and not on the first or last frame are added.

        Args:
            frames: The frames that the run processed, by number.
        """
        outermost = {"begins": min(frames, default=0), "ends": max(frames, default=0)}
        for number in self._lines.frames():
            ends, uncertainties = [], []
            for item in map(from_json, self._lines.of(number)):
                if item[1] in outermost:
                    frame_number, how, label_id, box = item
                    ends.append(TrackEnd(frame_number, how, label_id, _box(box)))
                else:
                    label_id, score, box, *more = item
                    uncertainties.append(Uncertainty(label_id, score, _box(box), *more))
            summary = FrameSummary(number, noun="track")
            summary.add(uncertainties)
            frame = frames[number]
            for end in ends:
                if number != outermost[end.how] and not is_at_edge(end.box, frame.width, frame.height):
                    summary.add_break(end.how, end.label_id, end.box)
            if uncertainties or summary.breaks:
                yield summary


class TrackCollector:
    """Collects the detections of tracks. Only tracks that may continue are in memory.

    Args:
        options: The minimum length of a track, and the maximum gap between its detections.

    Attributes:
        labels: The number of tracks of each label, by label id.
        frames: The sum of the lengths of all tracks, in frames.
        untracked: The number of detections of tracks that were too short.
        summaries: The summaries of the tracks.
    """

    def __init__(self, options: TrackOptions) -> None:
        self.labels: Counter[int] = Counter()
        self.frames = 0
        self.untracked = 0
        self.summaries = TrackSummaries()
        self._options = options
        self._open: dict[int, TrackSummary] = {}

    def add(self, frame: int, detections: Iterable[tuple[int, Uncertainty]]) -> None:
        """Add the detections of the next frame, each with the number of its track."""
        for number, track in list(self._open.items()):
            if frame - track.last > self._options.max_gap:
                self._end(number)
        for number, detection in detections:
            self._open.setdefault(number, TrackSummary(frame, detection)).add(frame, detection)

    def discard(self, number: int) -> None:
        """Drop a track; its detections count as untracked."""
        if (track := self._open.pop(number, None)) is not None:
            self.untracked += track.detections

    def finish(self) -> None:
        """End all tracks: there are no more frames."""
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
