"""Routes of data/meta: the frames of a task or a job, and the deleted ones."""

import json

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json, Reply, bad_request
from prefect_cvat.sandbox.media.data_parameters import step_of
from prefect_cvat.sandbox.media.images import PLACEHOLDER_NAME
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.change_events import write_and_notify
from prefect_cvat.sandbox.tasks.job_layout import frames_of_job
from prefect_cvat.sandbox.tasks.tasks import mark_task_changed


def get_task_meta(call: Call) -> Reply:
    """GET tasks/ID/data/meta."""
    with call.state.database.read() as db:
        return Reply(json=_task_meta(db, permissions.task_of(call, db, call.path_id())))


def update_task_meta(call: Call) -> Reply:
    """PATCH tasks/ID/data/meta: sets the deleted frames."""
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        _check_data(task)
        deleted = _asked(call, range(task["size"]))
        if deleted is not None:
            _delete_frames(db, task["data_id"], deleted)
            mark_task_changed(db, task["id"])
        return Reply(json=_task_meta(db, permissions.task_of(call, db, task["id"])))


def get_job_meta(call: Call) -> Reply:
    """GET jobs/ID/data/meta. Start and stop count frames of the source, unlike those of the job."""
    with call.state.database.read() as db:
        return Reply(json=_job_meta(db, permissions.job_of(call, db, call.path_id())))


def update_job_meta(call: Call) -> Reply:
    """PATCH jobs/ID/data/meta: sets the deleted frames of the job, and keeps those of other jobs."""
    with write_and_notify(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        own = range(job["start_frame"], job["stop_frame"] + 1)
        deleted = _asked(call, own)
        if deleted is not None:
            task = permissions.task_of_job(db, job)
            others = [frame for frame in json.loads(task["deleted_frames"]) if frame not in own]
            _delete_frames(db, task["data_id"], sorted([*others, *deleted]))
            mark_task_changed(db, task["id"])
        return Reply(json=_job_meta(db, job))


def _check_data(task: Row) -> None:
    if task["data_id"] is None:
        raise bad_request(["Data is not uploaded for the task yet"])


def _asked(call: Call, known: range) -> list[int] | None:
    deleted = call.json_object().get("deleted_frames")
    if deleted is None:
        return None
    if not isinstance(deleted, list) or not all(type(frame) is int for frame in deleted):
        raise bad_request({"deleted_frames": ["A valid integer is required."]})
    unknown = sorted({frame for frame in deleted if frame not in known})
    if unknown:
        names = ", ".join(map(str, unknown))
        raise bad_request({"deleted_frames": [f"Unknown frames {names} requested for removal"]})
    return sorted(set(deleted))


def _delete_frames(db: Connection, data_id: int, frames: list[int]) -> None:
    db.execute("UPDATE data SET deleted_frames = ? WHERE id = ?", (json.dumps(frames), data_id))


def _task_meta(db: Connection, task: Row) -> Json:
    _check_data(task)
    return {
        **_common(task),
        "chunks_updated_date": task["chunks_updated_date"],
        "size": task["size"],
        "start_frame": task["start_frame"],
        "stop_frame": task["stop_frame"],
        "frames": _frames(db, task, (0, task["size"] - 1)),
        "deleted_frames": json.loads(task["deleted_frames"]),
        "included_frames": None,
    }


def _job_meta(db: Connection, job: Row) -> Json:
    task = permissions.task_of_job(db, job)
    first, last = job["start_frame"], job["stop_frame"]
    step = step_of(task["frame_filter"])
    own = frames_of_job(job)
    frames = _frames(db, task, (first, last))
    included = None
    if job["frames"] is not None and task["mode"] == "annotation":
        included = own
        kept = set(own)
        for number, frame in enumerate(frames, start=first):
            if number not in kept:
                frame["name"] = PLACEHOLDER_NAME
    return {
        **_common(task),
        "chunks_updated_date": job["chunks_updated_date"],
        "size": len(own),
        "start_frame": task["start_frame"] + first * step,
        "stop_frame": task["start_frame"] + last * step,
        "frames": frames,
        "deleted_frames": [frame for frame in json.loads(task["deleted_frames"]) if first <= frame <= last],
        "included_frames": included,
    }


def _common(task: Row) -> Json:
    return {
        "chapters": [] if task["mode"] == "interpolation" else None,
        "chunk_size": task["chunk_size"],
        "image_quality": task["image_quality"],
        "frame_filter": task["frame_filter"],
        "storage": "local",
        "cloud_storage_id": None,
    }


def _frames(db: Connection, task: Row, borders: tuple[int, int]) -> list[Json]:
    # A video is one entry.
    first, last = (0, 0) if task["mode"] == "interpolation" else borders
    rows = db.execute(
        "SELECT name, width, height FROM frame WHERE data_id = ? AND number BETWEEN ? AND ? ORDER BY number",
        (task["data_id"], first, last),
    )
    return [
        {
            "width": row["width"],
            "height": row["height"],
            "name": row["name"],
            "related_files": 0,
            "has_related_context": False,
        }
        for row in rows
    ]
