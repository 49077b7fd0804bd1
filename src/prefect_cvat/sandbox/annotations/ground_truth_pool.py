"""Task-level writes to a task with a ground truth pool."""

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.annotations.annotation_body import Annotations
from prefect_cvat.sandbox.api.reply import Json, bad_request
from prefect_cvat.sandbox.storage.database import Connection, Row


def apply_pool_rules(db: Connection, task: Row, annotations: Annotations, *, action: str) -> Annotations:
    """Apply the rules of CVAT 2.73 for task-level writes to a task with a ground truth pool.

    Annotations on ground truth frames are also copied to the honeypots with the same image. Annotations on
    honeypots are ignored. Annotations of other tasks are returned unchanged.

    Raises:
        ApiError: 400 for tracks, and for updates and deletions on ground truth frames.
    """
    if task["validation_mode"] != "gt_pool":
        return annotations
    reject_tracks_in_pool(task, annotations)
    real_frames: dict[int, int] = {
        row["number"]: row["real_frame"]
        for row in db.execute(
            "SELECT number, real_frame FROM frame WHERE data_id = ? AND real_frame IS NOT NULL",
            (task["data_id"],),
        )
    }
    if action != "create":
        pools = [job for job in permissions.jobs_of_task(db, task["id"]) if job["type"] == "ground_truth"]
        for item in (*annotations.tags, *annotations.shapes):
            if any(pool["start_frame"] <= item["frame"] <= pool["stop_frame"] for pool in pools):
                raise bad_request(
                    ["Ground truth annotations of a task with a pool cannot be changed at task level"]
                )
        return annotations
    return Annotations(
        tags=_copied(annotations.tags, real_frames),
        shapes=_copied(annotations.shapes, real_frames),
        tracks=[],
    )


def reject_tracks_in_pool(task: Row, annotations: Annotations) -> None:
    """Refuse tracks in a task with a ground truth pool. CVAT checks this before anything else.

    Raises:
        ApiError: 400 if there are tracks.
    """
    if annotations.tracks and task["validation_mode"] == "gt_pool":
        raise bad_request(["Tracks are not supported when task validation mode is gt_pool"])


def _copied(items: list[Json], real_frames: dict[int, int]) -> list[Json]:
    kept = [item for item in items if item["frame"] not in real_frames]
    copies = [
        _moved(item, honeypot)
        for honeypot, real_frame in real_frames.items()
        for item in items
        if item["frame"] == real_frame
    ]
    return kept + copies


def _moved(item: Json, frame: int) -> Json:
    moved = {**item, "frame": frame}
    if "elements" in item:
        moved["elements"] = [{**element, "frame": frame} for element in item["elements"]]
    return moved
