"""Makes CVAT tracks of associated shapes, one track in each job.

CVAT stores the keyframes of a track and interpolates between them. A track ends with a keyframe that is
`outside`, or else at the end of its job. Each job has its own part of a track; CVAT joins the parts when it
reads the task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from prefect_cvat.models import Job, Label
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.open_track import MutableAttributes, OpenTrack

__all__ = ["TrackBuilder"]


class TrackBuilder:
    """Builds CVAT tracks from shapes frame by frame. Complete tracks can be taken at any time.

    - The part in a job begins with a keyframe on the first frame of the track in the job. If the track began
      in an earlier job, that is the job's first frame, interpolated if there is no shape on it.
    - It ends with an `outside` keyframe on the frame after the last shape, unless the job ends there. A gap
      of more than `fill_gap` frames is also preceded by an `outside` keyframe.
    - Consecutive processed frames have no gap between them, whatever the step.
    - Mutable attributes are set on every keyframe, missing ones to their defaults. An immutable attribute
      gets its most frequent value so far.

    Memory holds the keyframes of open tracks in open jobs.

    Args:
        jobs: The jobs to write to. They may overlap.
        options: Minimum length, gaps and tolerance of tracks.
        labels: The labels of the task.
    """

    def __init__(self, jobs: Sequence[Job], options: TrackOptions, labels: Sequence[Label]) -> None:
        self._options = options
        self._attributes = MutableAttributes(labels)
        self._ahead = sorted(jobs, key=lambda job: (job.start_frame, job.id), reverse=True)
        self._jobs: list[Job] = []  # jobs that have begun and may get more frames
        self._tracks: dict[int, OpenTrack] = {}
        self._frame = -1
        self._complete: list[tuple[int, dict[str, Any]]] = []

    def add(
        self, frame: int, items: Iterable[tuple[int, Mapping[str, Any]]], exact: Collection[int] = ()
    ) -> None:
        """Add the shapes of the next processed frame.

        Args:
            frame: The number of the frame.
            items: Track numbers and shapes, as the server's JSON objects; may be empty.
            exact: Numbers of the tracks whose shapes must become keyframes, such as manual shapes.

        Raises:
            ValueError: The frames do not ascend, a track has two shapes, or a track changes its label, its
                type or its skeleton elements.
        """
        if frame <= self._frame:
            raise ValueError(f"frame {frame} follows frame {self._frame}; frames must ascend")
        for number, track in list(self._tracks.items()):
            if frame - track.last.frame > self._options.max_gap:
                self._close(number)
        self._move_on(frame)
        for number, shape in items:
            self._see(frame, number, shape, number in exact)
        for track in self._tracks.values():
            if frame - track.last.frame > self._options.fill_gap and not track.is_lost:
                track.lose()
            for job_id, part in track.take(frame, self._options.min_length):
                self._complete.append((job_id, part))
        self._frame = frame

    def discard(self, number: int) -> None:
        """Drop a track. What was taken of it, in jobs that have ended, stays."""
        self._tracks.pop(number, None)

    def finish(self) -> None:
        """End all tracks: there are no more frames."""
        for number in list(self._tracks):
            self._close(number)
        self._ahead.clear()
        self._jobs.clear()

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        """Return tracks completed since the last call: job ids, and tracks as the server's JSON objects."""
        complete, self._complete = self._complete, []
        return complete

    @property
    def open_jobs(self) -> set[int]:
        """The ids of jobs that may get more tracks."""
        reach = min(
            (track.last.frame for track in self._tracks.values() if not track.is_lost), default=self._frame
        )
        reach = min(reach, self._frame) + 1
        jobs = {job.id for job in (*self._ahead, *self._jobs) if job.stop_frame >= reach}
        return jobs.union(*(track.job_ids for track in self._tracks.values()))

    def _move_on(self, frame: int) -> None:
        settled = [track.last.frame for track in self._tracks.values() if not track.is_lost]
        while self._ahead and self._ahead[-1].start_frame <= frame:
            self._jobs.append(self._ahead.pop())
        self._jobs = [job for job in self._jobs if job.stop_frame > min([frame - 1, *settled])]

    def _see(self, frame: int, number: int, shape: Mapping[str, Any], is_exact: bool) -> None:
        track = self._tracks.get(number)
        if track is None:
            track = self._tracks[number] = OpenTrack(number, shape, self._attributes, self._options)
        elif track.last.frame == frame:
            raise ValueError(f"track {number} is on frame {frame} twice")
        elif (
            not track.is_lost
            and track.last.frame < self._frame
            and frame - track.last.frame - 1 > self._options.fill_gap
        ):
            track.lose()
        track.see(frame, shape, self._jobs, is_exact)

    def _close(self, number: int) -> None:
        track = self._tracks.pop(number)
        if not track.is_lost:
            track.lose()
        self._complete += track.take(None, self._options.min_length)
