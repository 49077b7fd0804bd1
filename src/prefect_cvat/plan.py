"""What a run will do: which frames, in which chunks, written to which jobs, and what is left out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from operator import attrgetter

from prefect_cvat.chunk_places import ChunkPlace
from prefect_cvat.client import Client
from prefect_cvat.media import Frame
from prefect_cvat.models import Job, Task
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.task_info import TaskInfo, read_task_info

__all__ = ["Batch", "LeftOut", "Plan", "Selection", "TaskInfo", "make_plan", "read_task"]


class LeftOut(StrEnum):
    """Why a frame is not annotated."""

    NOT_SELECTED = "not selected"
    DELETED = "deleted"
    GROUND_TRUTH = "ground truth"
    HONEYPOT = "honeypot"
    NO_JOB = "in no annotation job"
    ANNOTATED = "annotated"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which frames of a task to annotate; by default all that can be.

    Attributes:
        frames: Relative frame numbers; None for all.
        jobs: Ids of annotation jobs; None for all.
        unannotated: Whether only frames without annotations are wanted; `leave_out_annotated` finds them.
    """

    frames: Collection[int] | None = None
    jobs: Collection[int] | None = None
    unannotated: bool = False

    def __post_init__(self) -> None:
        if self.frames is not None:
            object.__setattr__(self, "frames", NumberRanges.of(self.frames))


class Batch:
    """Consecutive selected frames, and the chunks that they lie in.

    A plain object on purpose: Prefect walks through dataclasses and containers that are passed between
    Prefect tasks.

    Attributes:
        index: The batch's number in the run.
        chunks: The numbers of its chunks.
        frames: Its frames, in ascending order.
    """

    __slots__ = ("chunks", "frames", "index")

    def __init__(self, index: int, chunks: Sequence[int], frames: Sequence[Frame]) -> None:
        self.index = index
        self.chunks = tuple(chunks)
        self.frames = tuple(frames)

    def __str__(self) -> str:
        first, last = self.frames[0].number, self.frames[-1].number
        return f"batch {self.index} (frames {first}-{last})"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        info: The task as the server describes it.
        frames: The frames to annotate, in ascending order.
        jobs: The annotation jobs to write to.
        left_out: The frames that are not annotated, by reason.
    """

    info: TaskInfo
    frames: tuple[Frame, ...]
    jobs: tuple[Job, ...]
    left_out: dict[LeftOut, tuple[int, ...]]

    @property
    def task(self) -> Task:
        """The task."""
        return self.info.task

    @property
    def chunk_size(self) -> int:
        """How many frames a chunk holds."""
        return self.info.meta.chunk_size

    @property
    def size(self) -> int:
        """How many frames the task has, as far as this user may know: those of the jobs alone, maybe."""
        if self.info.through_jobs:
            return len(self.frames) + sum(map(len, self.left_out.values()))
        return self.info.meta.size

    @property
    def why_nothing(self) -> str:
        """Why there is nothing to do; empty if there is."""
        if self.frames:
            return ""
        why = ", ".join(f"{len(frames)} {why.value}" for why, frames in self.left_out.items())
        return f"no frame of task {self.task.id} is left to look at" + (f" (left out: {why})" if why else "")

    def chunks(self) -> list[tuple[int, tuple[Frame, ...]]]:
        """The chunks that hold selected frames, each with these frames, in ascending order."""
        by_number: dict[int, list[Frame]] = {}
        for frame in self.frames:
            by_number.setdefault(self.chunk_number(frame.number), []).append(frame)
        return [(number, tuple(frames)) for number, frames in by_number.items()]

    def chunk_number(self, frame: int) -> int:
        """The number of the chunk that a frame is taken from."""
        return self.info.chunk_places.number_of(frame)

    def chunk_place(self, number: int) -> ChunkPlace:
        """Where a chunk comes from, and which frames it holds."""
        return self.info.chunk_places.place(number)

    def frames_between(self, first: int, last: int) -> Sequence[Frame]:
        """The frames to annotate of a range of frames."""
        start = bisect_left(self.frames, first, key=attrgetter("number"))
        return self.frames[start : bisect_right(self.frames, last, key=attrgetter("number"))]

    def jobs_between(self, first: int, last: int) -> list[Job]:
        """The jobs that frames of this range are written to; where jobs overlap, a frame has several."""
        return [job for job in self.jobs if job.start_frame <= last and job.stop_frame >= first]

    def without(self, numbers: Collection[int], why: LeftOut) -> Plan:
        """The plan with some of its frames left out for another reason, and jobs that have no others."""
        if not numbers:
            return self
        frames = tuple(frame for frame in self.frames if frame.number not in numbers)
        left_out = tuple(frame.number for frame in self.frames if frame.number in numbers)
        return replace(
            self,
            frames=frames,
            jobs=_jobs_with(frames, self.jobs),
            left_out={**self.left_out, why: left_out},
        )


def read_task(client: Client, task_id: int, selection: Selection | None = None) -> TaskInfo:
    """Ask the server for all that a plan needs.

    Args:
        client: The server.
        task_id: The task.
        selection: What is to be worked on. Who is assigned jobs of a task, and may not see the task, is told
            of the jobs that it names.

    Raises:
        PermissionDeniedError: This user may see neither the task nor the jobs, or names no jobs.
        UnsupportedTaskError: The task is 3D or audio, or has honeypots of which this user is not told.
        NoDataError: The task has no data yet.
        OrganizationError: The task is not in the organization that the client works in.
        ValueError: A job is not one of the task that can be annotated.
    """
    return read_task_info(client, task_id, None if selection is None else selection.jobs)


def make_plan(info: TaskInfo, selection: Selection | None = None) -> Plan:
    """Decide which frames to annotate and which jobs to write to.

    Frames of a ground-truth pool and honeypots are left out: writing there would change what
    annotators are measured by. A separate ground-truth job (mode `gt`) is not written to, but its
    frames are also part of annotation jobs, and are annotated there.

    Raises:
        ValueError: The selection names a frame or a job that the task does not have.
    """
    selection = selection or Selection()
    annotation_jobs = [job for job in info.jobs if job.type == "annotation"]
    jobs = _select_jobs(info.task, annotation_jobs, selection.jobs)
    size = info.meta.size
    selected = selection.frames
    end = inf if info.through_jobs else size  # of frames after the jobs one does not know
    if selected is not None and (strangers := NumberRanges.of(selected).outside(end)):
        raise ValueError(
            f"task {info.task.id} has the frames 0-{size - 1}; it has no frame {strangers.describe()}"
        )
    in_selected_job = _frames_in(jobs, size)
    in_any_job = _frames_in(annotation_jobs, size)
    pool = info.validation.mode == "gt_pool"
    ground_truth = set(info.validation.validation_frames or ()) if pool else set()
    honeypots = set(info.validation.honeypot_frames or ()) if pool else set()
    deleted = set(info.meta.deleted_frames)

    def reason(frame: int) -> LeftOut | None:
        if frame in deleted:
            return LeftOut.DELETED
        if frame in ground_truth:
            return LeftOut.GROUND_TRUTH
        if frame in honeypots:
            return LeftOut.HONEYPOT
        if not in_any_job[frame]:
            return LeftOut.NO_JOB
        if not in_selected_job[frame] or (selected is not None and frame not in selected):
            return LeftOut.NOT_SELECTED
        return None

    frames: list[Frame] = []
    left_out: dict[LeftOut, list[int]] = {}
    metas = info.meta.frames if len(info.meta.frames) == size else info.meta.frames * size
    for number, meta in enumerate(metas):
        if info.through_jobs and not in_any_job[number]:
            continue
        why = reason(number)
        if why is None:
            frames.append(Frame(number, meta.name, meta.width, meta.height))
        else:
            left_out.setdefault(why, []).append(number)
    return Plan(
        info=info,
        frames=tuple(frames),
        jobs=_jobs_with(frames, jobs),
        left_out={why: tuple(numbers) for why, numbers in left_out.items()},
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


def _jobs_with(frames: Sequence[Frame], jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs that have one of the frames, which ascend."""
    numbers = [frame.number for frame in frames]
    return tuple(
        job for job in jobs if bisect_left(numbers, job.start_frame) < bisect_right(numbers, job.stop_frame)
    )


def _frames_in(jobs: Iterable[Job], size: int) -> bytearray:
    """For each frame of a task whether it is in one of the jobs."""
    is_in = bytearray(size)
    for job in jobs:
        for frame in range(job.start_frame, min(job.stop_frame + 1, size)):
            is_in[frame] = True
    return is_in


def _enumerate(numbers: Sequence[int], most: int = 10) -> str:
    text = ", ".join(map(str, numbers[:most]))
    return f"{text}, ... ({len(numbers)} in all)" if len(numbers) > most else text
