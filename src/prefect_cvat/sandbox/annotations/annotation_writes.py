"""Writes annotations into the jobs of a task, inside a transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.annotations import annotation_store
from prefect_cvat.sandbox.annotations.annotation_body import Annotations
from prefect_cvat.sandbox.annotations.annotation_store import Labels
from prefect_cvat.sandbox.annotations.ground_truth_pool import reject_tracks_in_pool
from prefect_cvat.sandbox.annotations.track_parts import cut
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.tasks import mark_task_changed

_Part = tuple[Row, Annotations]


def insert_into_job(call: Call, db: Connection, job: Row, annotations: Annotations) -> Annotations:
    """Add annotations to a job; return them with ids and defaults."""
    task = permissions.task_of_job(db, job)
    reject_tracks_in_pool(task, annotations)
    labels = Labels(db, task)
    tracks = [track for track in annotations.tracks if track["shapes"] or track["elements"]]
    kept = Annotations(tags=annotations.tags, shapes=annotations.shapes, tracks=tracks)
    written = annotation_store.insert(db, job["id"], kept, labels)
    _apply_store_part_fault(call, db, [(job, written)])
    return written


def insert_into_jobs(call: Call, db: Connection, task: Row, parts: Iterable[_Part]) -> list[_Part]:
    """Add annotations to several jobs of a task; return them with ids and defaults."""
    labels = Labels(db, task)
    written = [(job, annotation_store.insert(db, job["id"], part, labels)) for job, part in parts]
    _apply_store_part_fault(call, db, written)
    return written


def _apply_store_part_fault(call: Call, db: Connection, parts: Iterable[_Part]) -> None:
    # In the same transaction as the write, so no reader ever sees the dropped annotations.
    written = [
        (job["id"], table, item["id"])
        for job, part in parts
        for table, items in zip(annotation_store.TABLES, (part.tags, part.shapes, part.tracks), strict=True)
        for item in items
    ]
    for job_id, table, number in call.fault.items_to_drop(written):
        annotation_store.delete_one(db, table, job_id, number)


def by_job(jobs: list[Row], annotations: Annotations) -> Iterator[_Part]:
    """Distribute annotations to the jobs that have their frames."""
    tags = _by_frame(annotations.tags)
    shapes = _by_frame(annotations.shapes)
    for job in jobs:
        start, stop = job["start_frame"], job["stop_frame"]
        frames = range(start, stop + 1)
        tracks = [part for part in (cut(track, start, stop) for track in annotations.tracks) if part]
        part = Annotations(
            tags=[tag for frame in frames for tag in tags.get(frame, ())],
            shapes=[shape for frame in frames for shape in shapes.get(frame, ())],
            tracks=tracks,
        )
        if has_any(part):
            yield job, part


def _by_frame(items: list[Json]) -> dict[int, list[Json]]:
    found: defaultdict[int, list[Json]] = defaultdict(list)
    for item in items:
        found[item["frame"]].append(item)
    return found


def has_any(annotations: Annotations) -> bool:
    """Whether there are any."""
    return bool(annotations.tags or annotations.shapes or annotations.tracks)


def mark_changed(db: Connection, task_id: int, job_ids: Iterable[int]) -> None:
    """Renew the dates of the jobs that were written to, and of their task.

    CVAT 2.73: a write that adds and removes nothing does not change the dates.
    """
    changed = set(job_ids)
    for number in changed:
        row = db.execute("SELECT updated_date FROM job WHERE id = ?", (number,)).fetchone()
        moment = timestamps.later_than(row["updated_date"])
        db.execute("UPDATE job SET updated_date = ? WHERE id = ?", (moment, number))
    if changed:
        mark_task_changed(db, task_id)
