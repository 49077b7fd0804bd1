"""Reads all information about a task that a plan needs, from the task or from its jobs.

A user who is assigned only jobs of a task may not see the task: CVAT 2.73 answers 403 for its meta, chunks
and labels. The same information is available for each of the jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.response_checks.honeypot_check import check_has_no_honeypots
from prefect_cvat.cvat.task_identity import TaskIdentity
from prefect_cvat.cvat.task_requests import check_annotatable
from prefect_cvat.exceptions import InvalidResponseError, PermissionDeniedError
from prefect_cvat.frame_table import FrameMeta, FrameTable
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import DataMeta, Job, Label, Task, ValidationLayout
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.chunk_locations import ChunkPlaces, JobChunks, TaskChunks
from prefect_cvat.planning.planned_frames import PlannedFrames

__all__ = ["JobsOfTask", "TaskInfo", "read_jobs", "read_task"]


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """The information about a task that a plan needs.

    Attributes:
        task: The task.
        meta: Its media.
        jobs: Its jobs, of all types.
        labels: Its labels.
        validation: Its ground-truth frames and honeypots.
        through_jobs: Whether the information was read from these jobs, because the user may not see the
            task. Then the size of the task ends with the last of these jobs.
    """

    task: Task
    meta: DataMeta
    jobs: tuple[Job, ...]
    labels: tuple[Label, ...]
    validation: ValidationLayout
    through_jobs: bool = False

    @cached_property
    def chunk_places(self) -> ChunkPlaces:
        """The locations of its chunks."""
        if self.through_jobs:
            return JobChunks(self.jobs, self.meta.chunk_size)
        return TaskChunks(self.meta.size, self.meta.chunk_size)

    def frames_of(self, numbers: Iterable[int]) -> PlannedFrames:
        """Frames of the task by ascending numbers."""
        return PlannedFrames(self.meta.frames, numbers)

    def identity(self, jobs: Sequence[Job]) -> TaskIdentity:
        """Identify the task and jobs, even if another server instance uses the same ids."""
        return TaskIdentity.of(self.task, self.meta.chunks_updated_date, jobs)

    def page(self, server: str) -> str:
        """The address of the task in CVAT; of its first job if the user may not see the task."""
        page = f"{server}/tasks/{self.task.id}"
        return f"{page}/jobs/{self.jobs[0].id}" if self.through_jobs else page


@dataclass(frozen=True, slots=True)
class JobsOfTask:
    """Jobs of a task, with the information needed to read and change their annotations.

    Attributes:
        task: The task.
        jobs: The jobs.
        labels: The labels of the task.
        identity: Identifies the task, even if another server instance uses the same ids.
    """

    task: Task
    jobs: tuple[Job, ...]
    labels: tuple[Label, ...]
    identity: TaskIdentity


def read_task(client: Client, task_id: int, selection: Selection | None = None) -> TaskInfo:
    """Read the information about a task that a plan needs.

    Args:
        client: The server.
        task_id: The task.
        selection: The frames and jobs of the run. A user who may only see some jobs of the task must name
            jobs here.

    Raises:
        PermissionDeniedError: This user may see neither the task nor the jobs, or names no jobs.
        UnsupportedTaskError: The task is 3D or audio, or has honeypots that this user may not see.
        NoDataError: The task has no data yet.
        OrganizationError: The task is not in the organization that the client works in.
        ValueError: A job is not one of the task that can be annotated.
    """
    jobs = None if selection is None else selection.jobs
    try:
        task = client.annotatable_task(task_id)
    except PermissionDeniedError as error:
        if not jobs:
            raise _with_visible_jobs(client, task_id, error) from None
        return _read_through_jobs(client, task_id, jobs)
    with ThreadPoolExecutor(4, thread_name_prefix="plan") as pool:  # hides latency
        meta_answer = pool.submit(client.meta, task_id)
        all_jobs = pool.submit(client.jobs, task)
        labels = pool.submit(client.labels, task_id)
        validation = pool.submit(client.validation_layout, task)
    meta = meta_answer.result()
    if meta.size != task.size or len(meta.frames) not in (1, meta.size):
        raise InvalidResponseError(
            f"task {task_id} has {task.size} frames, but its data/meta has {meta.size}"
            f" and describes {len(meta.frames)}"
        )
    info = TaskInfo(
        task=task,
        meta=meta,
        jobs=tuple(all_jobs.result()),
        labels=tuple(labels.result()),
        validation=validation.result(),
    )
    _check_frames(info)
    return info


def read_jobs(client: Client, task_id: int, wanted: Collection[int]) -> JobsOfTask:
    """Read jobs of a task by id, also if the user may see only these jobs.

    Args:
        client: The server.
        task_id: The task.
        wanted: The ids of the jobs. Jobs that no longer exist are left out.

    Raises:
        NotFoundError: The task does not exist, or, if the user may not see it, one of the jobs.
        OrganizationError: The task is not in the organization that the client works in.
        PermissionDeniedError: This user may see neither the task nor the jobs.
    """
    try:
        task = client.task(task_id)
    except PermissionDeniedError:
        if not wanted:
            raise
        jobs = _read_each_job(client, task_id, wanted)
        task, of_task = _task_of(jobs), tuple(client.job_labels(jobs[0].id))
        return JobsOfTask(task, tuple(jobs), of_task, TaskIdentity.of(task, None, jobs))
    with ThreadPoolExecutor(2, thread_name_prefix="plan") as pool:
        meta, labels = pool.submit(client.meta, task_id), pool.submit(client.labels, task_id)
        jobs = client.jobs(task)
    found = tuple(job for job in jobs if job.id in wanted)
    date = meta.result().chunks_updated_date
    return JobsOfTask(task, found, tuple(labels.result()), TaskIdentity.of(task, date, jobs))


def _read_through_jobs(client: Client, task_id: int, wanted: Collection[int]) -> TaskInfo:
    jobs = _read_each_job(client, task_id, wanted)
    for job in jobs:
        if job.type != "annotation":
            raise ValueError(
                f"job {job.id} of task {task_id} is of type {job.type!r}; only annotation jobs are annotated"
            )
    task = _task_of(jobs)
    check_annotatable(task)
    with ThreadPoolExecutor(4, thread_name_prefix="plan") as pool:
        metas = pool.map(client.job_meta, [job.id for job in jobs])
        labels = pool.submit(client.job_labels, jobs[0].id)
    if task.mode != "interpolation":  # CVAT 2.73: a pool of ground truth is for images only
        check_has_no_honeypots(client, jobs[0])
    info = TaskInfo(
        task=task,
        meta=_meta_of(task, jobs, list(metas)),
        jobs=tuple(jobs),
        labels=tuple(labels.result()),
        validation=ValidationLayout(),
        through_jobs=True,
    )
    _check_frames(info)
    return info


def _check_frames(info: TaskInfo) -> None:
    """Check that all frame numbers are within the task.

    Raises:
        InvalidResponseError: One is not.
    """
    size, validation = info.meta.size, info.validation
    _check_ranges(info.jobs)
    last = {f"job {job.id}": job.stop_frame for job in info.jobs}
    for name, numbers in (
        ("deleted_frames", info.meta.deleted_frames),
        ("validation_frames", validation.validation_frames),
        ("disabled_frames", validation.disabled_frames),
        ("honeypot_frames", validation.honeypot_frames),
    ):
        last[name] = max(numbers or (), default=0)
    for name, number in last.items():
        if number >= size:
            raise InvalidResponseError(
                f"task {info.task.id} has the frames 0-{size - 1}, but its {name} has frame {number}"
            )


def _read_each_job(client: Client, task_id: int, wanted: Iterable[int]) -> list[Job]:
    with ThreadPoolExecutor(4, thread_name_prefix="plan") as pool:
        jobs = list(pool.map(client.job, sorted(set(wanted))))
    if strangers := [job for job in jobs if job.task_id != task_id]:
        job = strangers[0]
        raise ValueError(f"job {job.id} is one of task {job.task_id}, not of task {task_id}")
    _check_ranges(jobs)
    return jobs


def _check_ranges(jobs: Iterable[Job]) -> None:
    for job in jobs:
        if job.stop_frame < job.start_frame:
            raise InvalidResponseError(
                f"job {job.id} ends on frame {job.stop_frame}, before it begins on frame {job.start_frame}"
            )


def _task_of(jobs: Sequence[Job]) -> Task:
    """A task, made of the fields of its jobs."""
    job = jobs[0]
    return Task(
        id=job.task_id,
        name=job.task_name,
        project_id=job.project_id,
        dimension=job.dimension,
        media_type=job.media_type,
        mode=job.mode,
        size=max(job.stop_frame for job in jobs) + 1,
        data_chunk_size=job.data_chunk_size,
        data_original_chunk_type=job.data_original_chunk_type,
        data_compressed_chunk_type=job.data_compressed_chunk_type,
        organization=job.organization,
    )


def _meta_of(task: Task, jobs: Sequence[Job], metas: Sequence[DataMeta]) -> DataMeta:
    """The media of a task, made of those of its jobs; frames of other jobs have no name."""
    is_video = task.mode == "interpolation"
    size = task.size or 0
    tables: list[FrameTable | None] = [None] * size
    begins: dict[int, int] = {}
    for job, meta in zip(jobs, metas, strict=True):
        length = job.stop_frame - job.start_frame + 1
        if meta.size != length or len(meta.frames) != (1 if is_video else length):
            raise InvalidResponseError(
                f"job {job.id} has {pluralize(length, 'frame')}, but its data/meta has {meta.size}"
                f" and describes {len(meta.frames)}"
            )
        if not is_video:
            tables[job.start_frame : job.stop_frame + 1] = [meta.frames] * length
            begins |= {id(meta.frames): job.start_frame}
    unknown = FrameMeta("", 0, 0)
    frames = FrameTable(
        unknown if table is None else table[number - begins[id(table)]] for number, table in enumerate(tables)
    )
    step = metas[0].step
    dates = [meta.chunks_updated_date for meta in metas if meta.chunks_updated_date is not None]
    return DataMeta(
        chunk_size=metas[0].chunk_size,
        size=size,
        # those of the jobs are numbers in the source
        start_frame=metas[0].start_frame - step * jobs[0].start_frame,
        stop_frame=max(meta.stop_frame for meta in metas),
        frame_filter=metas[0].frame_filter,
        frames=metas[0].frames[:1] if is_video else frames,
        deleted_frames=sorted({frame for meta in metas for frame in meta.deleted_frames}),
        chunks_updated_date=max(dates, default=None),
    )


def _with_visible_jobs(client: Client, task_id: int, error: PermissionDeniedError) -> PermissionDeniedError:
    """The error, with a hint to select the jobs that the user may see."""
    try:
        jobs = [job.id for job in client.visible_jobs(task_id) if job.type == "annotation"]
    except PermissionDeniedError:
        jobs = []
    if not jobs:
        return error
    listed = ", ".join(map(str, jobs[:10])) + (", ..." if len(jobs) > 10 else "")
    return PermissionDeniedError(
        f"this user may not see task {task_id} on {client.url}, but jobs of it: {listed};"
        f" name those to work on with {argument('jobs')}",
        status=error.status,
        method=error.method,
        path=error.path,
        detail=error.detail,
        request_id=error.request_id,
    )
