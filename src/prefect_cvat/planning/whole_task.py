"""Reading the annotations of a task in one request, where that is the same as reading its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from prefect_cvat.cvat.annotation_reading import AnnotationReading, Items
from prefect_cvat.cvat.client import Client
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.models import Job
from prefect_cvat.planning.task_info import TaskInfo

__all__ = ["is_same_for_task", "read_each_job"]


def is_same_for_task(info: TaskInfo, jobs: Sequence[Job]) -> bool:
    """Whether tags and shapes of a task can be read and added through the task, with the same result.

    It is not the same (CVAT 2.73) where

    - jobs overlap: each holds a copy of what is on a shared frame, and the task shows one of them;
    - the task has a ground truth pool: the ground truth job is read and written, too;
    - jobs have replicas, which requests about the task leave out;
    - the user may see some jobs only.

    For one job, or some of the jobs, it takes no fewer requests.

    Args:
        info: The task.
        jobs: The jobs that are to be read or written.
    """
    if info.through_jobs or info.validation.mode == "gt_pool" or len(jobs) < 2:
        return False
    if not {job.type for job in info.jobs} <= {"annotation", "ground_truth"}:
        return False
    annotation_jobs = {job.id for job in info.jobs if job.type == "annotation"}
    if annotation_jobs != {job.id for job in jobs}:
        return False
    ordered = sorted(jobs, key=lambda job: job.start_frame)
    return all(job.stop_frame < following.start_frame for job, following in pairwise(ordered))


def read_each_job(client: Client, info: TaskInfo, jobs: Sequence[Job]) -> Iterator[tuple[Job, Items]]:
    """Yield each of some jobs of a task with its annotations, read in as few requests as possible.

    Raises:
        StorageError: The annotations cannot be written to disk.
        PrefectCvatError: The server refused, or did not answer for good.
    """
    by_id = {job.id: job for job in jobs}
    with spool_folder() as folder:
        is_whole = is_same_for_task(info, jobs)
        reading = AnnotationReading(client, info.task.id, jobs, folder / "annotations", is_whole=is_whole)
        for job_id, annotations in reading.each():
            yield by_id[job_id], annotations
