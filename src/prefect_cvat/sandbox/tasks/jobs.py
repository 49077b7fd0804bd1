"""Routes of jobs, and the creation of jobs."""

import json
import random
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.accounts.users import existing_user_id
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import NO_CONTENT, Json, Reply, bad_request
from prefect_cvat.sandbox.storage.database import Connection
from prefect_cvat.sandbox.tasks.change_events import write_and_notify
from prefect_cvat.sandbox.tasks.representations import job_json
from prefect_cvat.sandbox.tasks.tasks import mark_task_changed

_STAGES = ("annotation", "validation", "acceptance")
_STATES = ("new", "in progress", "completed", "rejected")
_FIELDS = (
    "id",
    "task_id",
    "task_name",
    "project_id",
    "project_name",
    "assignee",
    "type",
    "stage",
    "state",
    "mode",
    "dimension",
    "media_type",
    "updated_date",
    "parent_job_id",
)
_SEARCHED = ("task_name", "project_name", "assignee")


def list_jobs(call: Call) -> Reply:
    """GET jobs, newest first. As in CVAT, `task_id` of an unknown or invisible task gives an empty list."""
    with call.state.database.read() as db:
        rows = lists.filtered(call, permissions.visible_jobs(call, db), _FIELDS, search=_SEARCHED)
        return lists.page(call, rows, lambda row: job_json(call, db, row))


def get_job(call: Call) -> Reply:
    """GET jobs/ID."""
    with call.state.database.read(call.fault.lag) as db:
        return Reply(json=job_json(call, db, permissions.job_of(call, db, call.path_id())))


def update_job(call: Call) -> Reply:
    """PATCH jobs/ID: changes stage, state and assignee. A new stage resets the state to `new`."""
    with write_and_notify(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        body = call.json_object()
        errors = {
            name: [f'"{body[name]}" is not a valid choice.']
            for name, choices in (("stage", _STAGES), ("state", _STATES))
            if name in body and body[name] not in choices
        }
        if errors:
            raise bad_request(errors)
        if "stage" in body or "assignee" in body:  # an assignee of the job alone may not change these
            permissions.task_of(call, db, job["task_id"])
        stage = body.get("stage", job["stage"])
        state = body.get("state", job["state"] if stage == job["stage"] else "new")
        db.execute(
            "UPDATE job SET stage = ?, state = ?, updated_date = ? WHERE id = ?",
            (stage, state, timestamps.now(), job["id"]),
        )
        if "assignee" in body and body["assignee"] != job["assignee_id"]:
            db.execute(
                "UPDATE job SET assignee_id = ?, assignee_updated_date = ? WHERE id = ?",
                (existing_user_id(db, body["assignee"], "assignee"), timestamps.now(), job["id"]),
            )
        mark_task_changed(db, job["task_id"])
        return Reply(json=job_json(call, db, permissions.job_of(call, db, job["id"])))


def create_ground_truth_job(call: Call) -> Reply:
    """POST jobs: creates the ground truth job of a task."""
    body = call.json_object()
    if body.get("type") != "ground_truth":
        raise bad_request({"type": ['Unexpected job type, expected "ground_truth"']})
    task_id = body.get("task_id")
    if not isinstance(task_id, int):
        raise bad_request({"task_id": ["This field is required."]})
    moment = timestamps.now()
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, task_id)
        if task["data_id"] is None:
            raise bad_request(["This task has no data attached yet. Please set up task data and try again"])
        if task["validation_mode"] is not None:
            raise bad_request(["Task already has a ground truth job"])
        frames = select_frames(body, list(range(task["size"])))
        job_id = add_job(db, task_id, "ground_truth", (0, task["size"] - 1), moment, frames=frames)
        db.execute("UPDATE data SET validation_mode = 'gt' WHERE id = ?", (task["data_id"],))
        mark_task_changed(db, task_id)
        shown = job_json(call, db, permissions.job_of(call, db, job_id))
    return Reply(status=201, json=shown, headers={"Location": call.url(f"jobs/{job_id}")})


def delete_job(call: Call) -> Reply:
    """DELETE jobs/ID: deletes a ground truth job."""
    with write_and_notify(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        permissions.task_of(call, db, job["task_id"])
        if job["type"] != "ground_truth":
            raise bad_request(["Only ground truth jobs can be removed"])
        db.execute("DELETE FROM job WHERE id = ?", (job["id"],))
        db.execute("UPDATE data SET validation_mode = NULL WHERE task_id = ?", (job["task_id"],))
        mark_task_changed(db, job["task_id"])
    return NO_CONTENT


def add_job(
    db: Connection,
    task_id: int,
    kind: str,
    borders: tuple[int, int],
    moment: str,
    *,
    frames: list[int] | None = None,
    parent_job_id: int | None = None,
) -> int:
    """Add a job.

    Args:
        db: A connection in a write transaction.
        task_id: The task.
        kind: `annotation`, `ground_truth` or `consensus_replica`.
        borders: First and last frame.
        moment: Time of creation.
        frames: The frames between the borders that belong to the job; None for all.
        parent_job_id: For a consensus replica, the job that it replicates.

    Returns:
        The id of the job.
    """
    number: int = db.execute(
        "INSERT INTO job (task_id, type, start_frame, stop_frame, frames, stage, state, parent_job_id,"
        " chunks_updated_date, created_date, updated_date)"
        " VALUES (?, ?, ?, ?, ?, 'annotation', 'new', ?, ?, ?, ?) RETURNING id",
        (
            task_id,
            kind,
            *borders,
            None if frames is None else json.dumps(frames),
            parent_job_id,
            moment,
            moment,
            moment,
        ),
    ).fetchone()["id"]
    return number


def select_frames(parameters: Json, available: list[int]) -> list[int]:
    """Select the ground truth frames: the given ones, or a random number or share of all frames.

    Raises:
        ApiError: 400 if a frame does not exist, or more frames are requested than available.
    """
    method = parameters.get("frame_selection_method")
    if method == "manual":
        asked: Any = parameters.get("frames") or []
        unknown = sorted(set(asked) - set(available))
        if unknown or not asked:
            raise bad_request(
                {"frames": [f"Unknown frames {', '.join(map(str, unknown))}" if unknown else "Required"]}
            )
        return sorted(set(asked))
    if method != "random_uniform":
        raise bad_request({"frame_selection_method": [f'"{method}" is not a valid choice.']})
    try:
        share = float(parameters.get("frame_share") or 0)
        count = int(parameters.get("frame_count") or round(share * len(available)))
    except (TypeError, ValueError):
        raise bad_request({"frame_count": ["A valid integer is required."]}) from None
    if not 1 <= count <= len(available):
        raise bad_request(
            {"frame_count": [f"The number of frames must be in the [1, {len(available)}] range"]}
        )
    generator = random.Random(parameters.get("random_seed"))  # noqa: S311 - a sample, not a secret
    return sorted(generator.sample(available, count))
