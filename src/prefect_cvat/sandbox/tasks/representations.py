"""Projects, tasks and jobs as JSON, as the API returns them and webhooks send them."""

from prefect_cvat.sandbox.accounts.users import basic_user
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.job_layout import frames_of_job


def project_json(call: Call, db: Connection, row: Row) -> Json:
    """A project as JSON."""
    tasks = db.execute(
        "SELECT count(*) AS total, count(data.id) AS filled"
        " FROM task LEFT JOIN data ON data.task_id = task.id"
        " WHERE project_id = ?",
        (row["id"],),
    ).fetchone()
    subsets = db.execute(
        "SELECT DISTINCT subset FROM task WHERE project_id = ? AND subset != ''", (row["id"],)
    ).fetchall()
    return {
        "url": call.url(f"projects/{row['id']}"),
        "id": row["id"],
        "name": row["name"],
        "owner": basic_user(call, db, row["owner_id"]),
        "assignee": basic_user(call, db, row["assignee_id"]),
        "guide_id": None,
        "bug_tracker": row["bug_tracker"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "status": row["status"],
        "dimension": "2d" if tasks["filled"] else None,
        "organization": row["organization_id"],
        "organization_id": row["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "tasks": {"count": tasks["total"], "url": call.url(f"tasks?project_id={row['id']}")},
        "labels": {"url": call.url(f"labels?project_id={row['id']}")},
        "assignee_updated_date": row["assignee_updated_date"],
        "task_subsets": [subset["subset"] for subset in subsets],
    }


def task_json(call: Call, db: Connection, row: Row) -> Json:
    """A task as JSON. A task without data lacks the fields about its data."""
    counts = db.execute(
        "SELECT count(*) AS total,"
        " coalesce(sum(stage = 'acceptance' AND state = 'completed'), 0) AS completed,"
        " coalesce(sum(stage = 'validation'), 0) AS validation FROM job WHERE task_id = ?",
        (row["id"],),
    ).fetchone()
    shown: Json = {
        "url": call.url(f"tasks/{row['id']}"),
        "id": row["id"],
        "name": row["name"],
        "project_id": row["project_id"],
        "project_name": row["project_name"],
        "owner": basic_user(call, db, row["owner_id"]),
        "assignee": basic_user(call, db, row["assignee_id"]),
        "bug_tracker": row["bug_tracker"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "overlap": row["overlap"],
        "segment_size": row["segment_size"],
        "status": row["status"],
        "guide_id": None,
        "data": row["data_id"],
        "dimension": row["dimension"],
        "mode": row["mode"],
        "media_type": row["media_type"],
        "subset": row["subset"],
        "organization_id": row["organization_id"],
        "organization": row["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "jobs": {
            "count": counts["total"],
            "completed": counts["completed"],
            "validation": counts["validation"],
            "url": call.url(f"jobs?task_id={row['id']}"),
        },
        "labels": {"url": call.url(f"labels?task_id={row['id']}")},
        "assignee_updated_date": row["assignee_updated_date"],
        "validation_mode": row["validation_mode"],
        "consensus_enabled": row["consensus_replicas"] > 0,
    }
    if row["data_id"] is not None:
        shown |= {
            "data_chunk_size": row["chunk_size"],
            "data_original_chunk_type": row["original_chunk_type"],
            "data_compressed_chunk_type": row["compressed_chunk_type"],
            "data_cloud_storage_id": None,
            "size": row["size"],
            "image_quality": row["image_quality"],
        }
    return shown


def job_json(call: Call, db: Connection, row: Row) -> Json:
    """A job as JSON."""
    issues = db.execute("SELECT count(*) AS total FROM issue WHERE job_id = ?", (row["id"],)).fetchone()
    return {
        "url": call.url(f"jobs/{row['id']}"),
        "id": row["id"],
        "task_id": row["task_id"],
        "task_name": row["task_name"],
        "project_id": row["project_id"],
        "project_name": row["project_name"],
        "assignee": basic_user(call, db, row["assignee_id"]),
        "guide_id": None,
        "dimension": row["dimension"],
        "mode": row["mode"],
        "media_type": row["media_type"],
        "bug_tracker": None,
        "status": row["status"],
        "stage": row["stage"],
        "state": row["state"],
        "frame_count": len(frames_of_job(row)),
        "start_frame": row["start_frame"],
        "stop_frame": row["stop_frame"],
        "data_chunk_size": row["chunk_size"],
        "data_compressed_chunk_type": row["compressed_chunk_type"],
        "data_original_chunk_type": row["original_chunk_type"],
        "created_date": row["created_date"],
        "updated_date": row["updated_date"],
        "issues": {"url": call.url(f"issues?job_id={row['id']}"), "count": issues["total"]},
        "labels": {"url": call.url(f"labels?job_id={row['id']}")},
        "type": row["type"],
        "organization": row["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "assignee_updated_date": row["assignee_updated_date"],
        "parent_job_id": row["parent_job_id"],
        "replicas_count": row["replicas_count"],
        "consensus_replicas": row["replicas_count"],
    }
