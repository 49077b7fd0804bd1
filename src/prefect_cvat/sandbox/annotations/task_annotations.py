"""The annotations of a task, merged from those of its jobs."""

from collections.abc import Callable, Iterator, Sequence

from pydantic_core import to_json

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.annotations import annotation_store
from prefect_cvat.sandbox.annotations.annotation_body import Annotations
from prefect_cvat.sandbox.annotations.shared_frames import merge_shared_frame
from prefect_cvat.sandbox.annotations.track_parts import join
from prefect_cvat.sandbox.api.reply import Json
from prefect_cvat.sandbox.storage.database import Connection, Row

_LAST = 2**63 - 1


def task_level_jobs(db: Connection, task: Row) -> list[Row]:
    """The jobs whose annotations task-level requests read and write.

    These are the annotation jobs and, in a task with a ground truth pool, the ground truth job.
    """
    types = ("annotation", "ground_truth") if task["validation_mode"] == "gt_pool" else ("annotation",)
    return [job for job in permissions.jobs_of_task(db, task["id"]) if job["type"] in types]


def stored(db: Connection, jobs: Sequence[Row]) -> Iterator[list[bytes]]:
    """The tags, shapes and tracks of a task, as JSON."""
    for table in ("tag", "shape"):
        yield _merged_bodies(db, table, jobs)
    tracks = [
        (job["start_frame"], job["stop_frame"], track)
        for job in jobs
        for track in annotation_store.items(db, "track", job["id"])
    ]
    yield [to_json(track) for track in join(tracks)]


def joined(parts: Sequence[tuple[Row, Annotations]]) -> Annotations:
    """Merge the annotations that were written to the jobs."""
    tracks = [(job["start_frame"], job["stop_frame"], track) for job, part in parts for track in part.tracks]
    return Annotations(
        tags=_merged([(job, part.tags) for job, part in parts]),
        shapes=_merged([(job, part.shapes) for job, part in parts]),
        tracks=join(tracks),
    )


def _merged_bodies(db: Connection, table: str, jobs: Sequence[Row]) -> list[bytes]:
    def read(job: Row, first: int, last: int) -> list[Json]:
        return annotation_store.items(db, table, job["id"], (first, last))

    bodies: list[bytes] = []
    for job, (first, last), shared in _frame_ranges(jobs):
        if shared is None:
            bodies += annotation_store.bodies(db, table, job["id"], (first, last))
        else:
            merged = _merge_by_frame(read, job, shared, first, last)
            bodies += [to_json(item) for item in merged]
    for job in jobs:
        # A job may also have annotations on frames outside it.
        bodies += annotation_store.bodies(db, table, job["id"], (0, job["start_frame"] - 1))
        bodies += annotation_store.bodies(db, table, job["id"], (job["stop_frame"] + 1, _LAST))
    return bodies


def _merged(parts: Sequence[tuple[Row, list[Json]]]) -> list[Json]:
    if not any(shared is not None for _, _, shared in _frame_ranges([job for job, _ in parts])):
        return [item for _, items in parts for item in items]
    own = {job["id"]: items for job, items in parts}

    def read(job: Row, first: int, last: int) -> list[Json]:
        return [item for item in own[job["id"]] if first <= item["frame"] <= last]

    merged: list[Json] = []
    for job, (first, last), shared in _frame_ranges([job for job, _ in parts]):
        if shared is None:
            merged += read(job, first, last)
        else:
            merged += _merge_by_frame(read, job, shared, first, last)
    return merged


def _frame_ranges(jobs: Sequence[Row]) -> Iterator[tuple[Row, tuple[int, int], Row | None]]:
    """Ranges of frames in order, each with its job and, if two jobs share the range, the second job."""
    reached = -1
    for index, job in enumerate(jobs):
        start = max(job["start_frame"], reached + 1)
        follower = jobs[index + 1] if index + 1 < len(jobs) else None
        stop = job["stop_frame"]
        shared = follower["start_frame"] if follower is not None else stop + 1
        if start <= min(stop, shared - 1):
            yield job, (start, min(stop, shared - 1)), None
        if follower is not None and shared <= stop:
            yield job, (shared, stop), follower
        reached = stop


def _merge_by_frame(
    read: Callable[[Row, int, int], list[Json]], job: Row, follower: Row, first: int, last: int
) -> list[Json]:
    earlier, later = read(job, first, last), read(follower, first, last)
    merged: list[Json] = []
    for frame in range(first, last + 1):
        merged += merge_shared_frame(
            [item for item in earlier if item["frame"] == frame],
            [item for item in later if item["frame"] == frame],
        )
    return merged
