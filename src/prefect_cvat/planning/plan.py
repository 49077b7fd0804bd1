"""The plan of a run: its frames, their chunks, the jobs to write to, and the excluded frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from math import inf

import numpy as np
import numpy.typing as npt

from prefect_cvat.cvat.job_index import JobIndex
from prefect_cvat.frames import Frame
from prefect_cvat.models import Job, Task
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.chunk_locations import ChunkPlace
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.planning.task_info import TaskInfo, read_task

__all__ = ["Batch", "ExclusionReason", "Plan", "TaskInfo", "make_plan", "read_task"]


class ExclusionReason(StrEnum):
    """Why a frame is excluded from a run."""

    NOT_SELECTED = "not selected"
    DELETED = "deleted"
    GROUND_TRUTH = "ground truth"
    HONEYPOT = "honeypot"
    NO_JOB = "in no annotation job"
    ANNOTATED = "annotated"


PART_FRAMES = 75
"""Maximum number of frames in a part of a chunk.

Only chunks of a size that a user has chosen are larger: CVAT 2.73 chooses 36 for videos, 2 to 72 for images.
"""

_CODES = {why: code for code, why in enumerate(ExclusionReason, start=1)}

_UNKNOWN = 255
"""Frames outside of the jobs, where the user may see only these jobs: neither planned nor excluded."""


class Batch:
    """Consecutive selected frames and their chunks, which may also have frames of other batches.

    Not a dataclass: Prefect traverses dataclasses and containers that are passed between Prefect tasks.

    Attributes:
        index: The batch's number in the run.
        chunks: The numbers of its chunks, each once.
        frames: Its frames, in ascending order.
    """

    __slots__ = ("chunks", "frames", "index")

    def __init__(self, index: int, chunks: Sequence[int], frames: Sequence[Frame]) -> None:
        self.index = index
        self.chunks = tuple(dict.fromkeys(chunks))
        self.frames = tuple(frames)

    def __str__(self) -> str:
        first, last = self.frames[0].number, self.frames[-1].number
        return f"batch {self.index} (frames {first}-{last})"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run.

    Attributes:
        info: The task as the server describes it.
        frames: The frames to annotate, in ascending order.
        jobs: The annotation jobs to write to.
        excluded: The other frames of the task, by reason.
    """

    info: TaskInfo
    frames: PlannedFrames
    jobs: tuple[Job, ...]
    excluded: dict[ExclusionReason, tuple[int, ...]]

    @cached_property
    def _job_index(self) -> JobIndex:
        return JobIndex(self.jobs)

    @property
    def task(self) -> Task:
        """The task."""
        return self.info.task

    @property
    def chunk_size(self) -> int:
        """Number of frames in a chunk."""
        return self.info.meta.chunk_size

    @property
    def size(self) -> int:
        """Number of frames in the task; in its jobs, where the user may see only these."""
        if self.info.through_jobs:
            return len(self.frames) + sum(map(len, self.excluded.values()))
        return self.info.meta.size

    @property
    def why_nothing(self) -> str:
        """Why the plan has no frames; empty if it has some."""
        if self.frames:
            return ""
        why = ", ".join(f"{len(frames)} {why.value}" for why, frames in self.excluded.items())
        return f"task {self.task.id} has no frame to process" + (f" (left out: {why})" if why else "")

    def chunks(self) -> Iterator[tuple[int, PlannedFrames]]:
        """The chunks that hold selected frames, each with these frames, in ascending order."""
        return self.frames.by(self.chunk_number)

    def part_of(self, frame: int) -> tuple[int, int]:
        """The number of a frame's chunk, and the number of its part of the chunk.

        Parts do not depend on the selected frames, so cached detections of a part fit all runs.
        """
        chunk = self.chunk_number(frame)
        if self.chunk_size <= PART_FRAMES:
            return chunk, 0
        return chunk, (frame - self.chunk_place(chunk).first_frame) // PART_FRAMES

    def parts(self) -> Iterator[tuple[int, PlannedFrames]]:
        """The chunks, in parts of at most `PART_FRAMES` frames: each with the number of its chunk."""
        return ((chunk, frames) for (chunk, _), frames in self.frames.by(self.part_of))

    def numbers_with(self, frame: int) -> list[int]:
        """The selected frames in the same part of a chunk as a frame."""
        part = self.part_of(frame)
        nearby = self.frames.between(frame - PART_FRAMES, frame + PART_FRAMES)
        return [number for number in nearby.numbers if self.part_of(number) == part]

    def numbers_in(self, chunk: int) -> list[int]:
        """The selected frames that are fetched from a chunk."""
        place = self.chunk_place(chunk)
        frames = self.frames.between(place.first_frame, place.first_frame + place.length - 1)
        return [number for number in frames.numbers if self.chunk_number(number) == chunk]

    def count_chunks(self) -> int:
        """Number of chunks with selected frames."""
        return sum(1 for _ in self.chunks())

    def chunk_number(self, frame: int) -> int:
        """The number of the chunk that a frame is fetched from."""
        return self.info.chunk_places.number_of(frame)

    def chunk_place(self, number: int) -> ChunkPlace:
        """The location of a chunk, and its frames."""
        return self.info.chunk_places.place(number)

    def frames_between(self, first: int, last: int) -> PlannedFrames:
        """The frames to annotate from the first to the last number."""
        return self.frames.between(first, last)

    def jobs_between(self, first: int, last: int) -> list[Job]:
        """The jobs with frames from the first to the last number; jobs may overlap."""
        return self._job_index.between(first, last)

    def without(self, is_excluded: Callable[[int], object], why: ExclusionReason) -> Plan:
        """The plan with more frames excluded, and without the jobs that have no frames left.

        Args:
            is_excluded: Whether to exclude the frame with a number.
            why: The reason.
        """
        excluded = tuple(filter(is_excluded, self.frames.numbers))
        if not excluded:
            return self
        frames = self.frames.where(lambda number: not is_excluded(number))
        return replace(
            self,
            frames=frames,
            jobs=_jobs_with(frames, self.jobs),
            excluded={**self.excluded, why: excluded},
        )


def make_plan(info: TaskInfo, selection: Selection | None = None) -> Plan:
    """Decide which frames to annotate and which jobs to write to.

    Frames of a ground-truth pool and honeypots are excluded, since annotators are measured by them. A
    separate ground-truth job (mode `gt`) is not written to, but its frames are also in annotation jobs, and
    are annotated there.

    Raises:
        ValueError: The selection names a frame or a job that the task does not have.
    """
    selection = selection or Selection()
    annotation_jobs = [job for job in info.jobs if job.type == "annotation"]
    jobs = _select_jobs(info.task, annotation_jobs, selection.jobs)
    size = info.meta.size
    selected = selection.frames
    end = inf if info.through_jobs else size  # the number of frames after the jobs is unknown
    if selected is not None and (strangers := NumberRanges.of(selected).outside(end)):
        raise ValueError(
            f"task {info.task.id} has the frames 0-{size - 1}; it has no frame {strangers.describe()}"
        )
    in_any_job = _is_in(annotation_jobs, size)
    pool = info.validation.mode == "gt_pool"
    reasons = np.zeros(size, np.uint8)
    # a later reason replaces an earlier one
    if selected is not None:
        is_selected = np.zeros(size, np.bool_)
        is_selected[[frame for frame in selected if frame < size]] = True
        reasons[~is_selected] = _CODES[ExclusionReason.NOT_SELECTED]
    reasons[~_is_in(jobs, size)] = _CODES[ExclusionReason.NOT_SELECTED]
    reasons[~in_any_job] = _CODES[ExclusionReason.NO_JOB]
    if pool:
        reasons[list(info.validation.honeypot_frames or ())] = _CODES[ExclusionReason.HONEYPOT]
        reasons[list(info.validation.validation_frames or ())] = _CODES[ExclusionReason.GROUND_TRUTH]
    reasons[info.meta.deleted_frames] = _CODES[ExclusionReason.DELETED]
    if info.through_jobs:
        reasons[~in_any_job] = _UNKNOWN
    frames = info.frames_of(np.flatnonzero(reasons == 0))
    excluded = {why: tuple(np.flatnonzero(reasons == code).tolist()) for why, code in _CODES.items()}
    return Plan(
        info=info,
        frames=frames,
        jobs=_jobs_with(frames, jobs),
        excluded=dict(sorted((item for item in excluded.items() if item[1]), key=lambda item: item[1][0])),
    )


def _select_jobs(task: Task, annotation_jobs: Sequence[Job], wanted: Collection[int] | None) -> list[Job]:
    if wanted is None:
        return list(annotation_jobs)
    ids = [job.id for job in annotation_jobs]
    if strangers := sorted(set(wanted) - set(ids)):
        raise ValueError(
            f"task {task.id} has the annotation jobs {_enumerate(ids)}; it has no job {_enumerate(strangers)}"
        )
    return [job for job in annotation_jobs if job.id in set(wanted)]


def _jobs_with(frames: PlannedFrames, jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs that have one of the frames."""
    return tuple(job for job in jobs if frames.count_between(job.start_frame, job.stop_frame))


def _is_in(jobs: Iterable[Job], size: int) -> npt.NDArray[np.bool_]:
    """For each frame of a task, whether one of the jobs has it."""
    is_in = np.zeros(size, np.bool_)
    for job in jobs:
        is_in[job.start_frame : job.stop_frame + 1] = True
    return is_in


def _enumerate(numbers: Sequence[int], max_numbers: int = 10) -> str:
    text = ", ".join(map(str, numbers[:max_numbers]))
    return f"{text}, ... ({len(numbers)} in all)" if len(numbers) > max_numbers else text
