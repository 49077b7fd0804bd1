"""The validation layout: ground truth frames and honeypots."""

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json, Reply
from prefect_cvat.sandbox.storage.database import Connection
from prefect_cvat.sandbox.tasks.job_layout import frames_of_job


def validation_layout(call: Call) -> Reply:
    """GET tasks/ID/validation_layout: the ground truth frames, and the honeypots that copy them."""
    with call.state.database.read() as db:
        task = permissions.task_of(call, db, call.path_id())
        mode = task["validation_mode"]
        shown: Json = {"mode": mode, "frames_per_job_count": task["frames_per_job_count"]}
        if mode is not None:
            shown |= {"validation_frames": validation_frames(db, task["id"]), "disabled_frames": []}
        if mode == "gt_pool":
            honeypots = db.execute(
                "SELECT number, real_frame FROM frame WHERE data_id = ? AND real_frame IS NOT NULL"
                " ORDER BY number",
                (task["data_id"],),
            ).fetchall()
            shown |= {
                "honeypot_count": len(honeypots),
                "honeypot_frames": [row["number"] for row in honeypots],
                "honeypot_real_frames": [row["real_frame"] for row in honeypots],
            }
        return Reply(json=shown)


def validation_frames(db: Connection, task_id: int) -> list[int]:
    """The frames of the ground truth job of a task."""
    jobs = [job for job in permissions.jobs_of_task(db, task_id) if job["type"] == "ground_truth"]
    return [frame for job in jobs for frame in frames_of_job(job)]
