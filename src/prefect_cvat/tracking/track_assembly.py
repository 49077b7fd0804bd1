"""From what is found frame after frame to CVAT's tracks, a part for each job.

CVAT keeps a track by its keyframes and interpolates between. A track ends with a keyframe that is
`outside`, and without one it goes on to the end of its job. Each job has its own part of a track; CVAT
joins the parts again when it reads the task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from prefect_cvat.models import Job, Label
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.track import MutableAttributes, OpenTrack

__all__ = ["TrackBuilder"]


class TrackBuilder:
    """Makes CVAT's tracks of what was found on frame after frame. What is complete can be taken at any time.

    - A part begins with a keyframe on the first frame of the track in its job. Where the track comes in from
      before, that is the job's first frame, interpolated if nothing was found there.
    - It ends with a keyframe that is `outside` on the frame after the last one that the object was seen on,
      unless the job ends there. So does the part of it before a gap of more than `fill_gap` frames.
    - Between frames that were looked at one after the other there is no gap, however far they are apart.
    - Attributes that may change stand on every keyframe, with their defaults where nothing is said; of those
      that may not, the track gets the value that was found most often until its part was complete.

    Memory is that of the keyframes of tracks that have not ended, in jobs that have not.

    Args:
        jobs: The jobs to write to. They may overlap.
        options: What tracks are to be like.
        labels: The labels of the task.
    """

    def __init__(self, jobs: Sequence[Job], options: TrackOptions, labels: Sequence[Label]) -> None:
        self._options = options
        self._attributes = MutableAttributes(labels)
        self._ahead = sorted(jobs, key=lambda job: (job.start_frame, job.id), reverse=True)
        self._jobs: list[Job] = []  # those that frames may yet lie in, of those that have begun
        self._tracks: dict[int, OpenTrack] = {}
        self._frame = -1
        self._complete: list[tuple[int, dict[str, Any]]] = []

    def add(
        self, frame: int, items: Iterable[tuple[int, Mapping[str, Any]]], exact: Collection[int] = ()
    ) -> None:
        """Take what was found on the next frame that was looked at, which may be nothing.

        Args:
            frame: The number of the frame.
            items: Track numbers and shapes, as the server's JSON objects.
            exact: The numbers of the tracks whose shapes become keyframes as they are: those that a human
                has drawn.

        Raises:
            ValueError: The frames do not ascend, a number is there twice, or a track changes its label, its
                type or, as a skeleton, its elements.
        """
        if frame <= self._frame:
            raise ValueError(f"frame {frame} comes after frame {self._frame}; they must ascend")
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

    def finish(self) -> None:
        """Say that there are no more frames. All that is left is complete then."""
        for number in list(self._tracks):
            self._close(number)
        self._ahead.clear()
        self._jobs.clear()

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        """What has become complete since the last call: job ids and tracks, as the server's JSON objects."""
        complete, self._complete = self._complete, []
        return complete

    @property
    def open_jobs(self) -> set[int]:
        """The ids of the jobs that may yet get more than has become complete."""
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
