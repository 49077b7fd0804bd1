"""Routes of the annotations of jobs and tasks."""

from collections.abc import Iterable
from typing import Any

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.annotations import annotation_store, task_annotations
from prefect_cvat.sandbox.annotations.annotation_body import Annotations, validate_annotations
from prefect_cvat.sandbox.annotations.annotation_writes import (
    by_job,
    has_any,
    insert_into_job,
    insert_into_jobs,
    mark_changed,
)
from prefect_cvat.sandbox.annotations.ground_truth_pool import apply_pool_rules
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import HTML, NO_CONTENT, ApiError, Reply, bad_request, server_error
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.change_events import write_and_notify

_ACTIONS = ("create", "update", "delete")


def get_job_annotations(call: Call) -> Reply:
    """GET jobs/ID/annotations."""
    with call.state.database.read(call.fault.lag) as db:
        job = permissions.job_of(call, db, call.path_id())
        _check_readable(db, [job])
        _check_finite(db, [job])
        return _document(annotation_store.bodies(db, table, job["id"]) for table in annotation_store.TABLES)


def get_task_annotations(call: Call) -> Reply:
    """GET tasks/ID/annotations: the merged annotations of the jobs that task-level requests use."""
    with call.state.database.read(call.fault.lag) as db:
        task = permissions.task_of(call, db, call.path_id())
        if task["data_id"] is None:
            raise ApiError(
                400, "Exporting annotations from a task without data is not allowed", media_type=HTML
            )
        jobs = task_annotations.task_level_jobs(db, task)
        _check_readable(db, jobs)
        _check_finite(db, jobs)
        return _document(task_annotations.stored(db, jobs))


def put_job_annotations(call: Call) -> Reply:
    """PUT jobs/ID/annotations: replaces all annotations."""
    with write_and_notify(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        _check_readable(db, [job])
        annotations = _without_ids(validate_annotations(call.json(), new=False))
        changed = annotation_store.clear(db, [job["id"]])
        written = insert_into_job(call, db, job, annotations)
        if has_any(written):
            changed.add(job["id"])
        mark_changed(db, job["task_id"], changed)
    return _annotations_json(written)


def patch_job_annotations(call: Call) -> Reply:
    """PATCH jobs/ID/annotations?action=create|update|delete. As in CVAT, also on other frames."""
    action = _action(call)
    with write_and_notify(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        annotations = validate_annotations(call.json(), new=action == "create", known=action == "delete")
        if action != "create":
            annotation_store.delete(db, job["id"], annotations)
        if action != "delete":
            annotations = insert_into_job(call, db, job, annotations)
        mark_changed(db, job["task_id"], {job["id"]} if has_any(annotations) else set())
    return _annotations_json(annotations)


def delete_job_annotations(call: Call) -> Reply:
    """DELETE jobs/ID/annotations."""
    with write_and_notify(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        _check_readable(db, [job])
        mark_changed(db, job["task_id"], annotation_store.clear(db, [job["id"]]))
    return NO_CONTENT


def put_task_annotations(call: Call) -> Reply:
    """PUT tasks/ID/annotations: replaces all annotations of the jobs that task-level requests use."""
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        if task["data_id"] is None:
            raise server_error()
        jobs = task_annotations.task_level_jobs(db, task)
        _check_readable(db, jobs)
        annotations = _without_ids(validate_annotations(call.json(), new=False))
        annotations = apply_pool_rules(db, task, annotations, action="create")
        changed = annotation_store.clear(db, [job["id"] for job in jobs])
        parts = insert_into_jobs(call, db, task, by_job(jobs, annotations))
        mark_changed(db, task["id"], changed | {job["id"] for job, _ in parts})
    return _annotations_json(task_annotations.joined(parts))


def patch_task_annotations(call: Call) -> Reply:
    """PATCH tasks/ID/annotations?action=create|update|delete. Unknown frames are ignored."""
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        action = _action(call)
        body = call.json()
        if task["data_id"] is None:
            raise bad_request("'NoneType' object has no attribute 'validation_mode'")
        annotations = apply_pool_rules(
            db,
            task,
            validate_annotations(body, new=action == "create", known=action == "delete"),
            action=action,
        )
        parts = list(by_job(task_annotations.task_level_jobs(db, task), annotations))
        if action != "create":
            for job, part in parts:
                annotation_store.delete(db, job["id"], part)
        if action != "delete":
            parts = insert_into_jobs(call, db, task, parts)
            annotations = task_annotations.joined(parts)
        mark_changed(db, task["id"], {job["id"] for job, _ in parts})
    return _annotations_json(annotations)


def delete_task_annotations(call: Call) -> Reply:
    """DELETE tasks/ID/annotations."""
    with write_and_notify(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        if task["data_id"] is None:
            raise server_error()
        jobs = task_annotations.task_level_jobs(db, task)
        _check_readable(db, jobs)
        mark_changed(db, task["id"], annotation_store.clear(db, [job["id"] for job in jobs]))
    return NO_CONTENT


def _action(call: Call) -> str:
    action = call.query.get("action")
    if action not in _ACTIONS:
        raise bad_request(["Please specify a correct 'action' for the request"])
    return action


def _check_readable(db: Connection, jobs: Iterable[Row]) -> None:
    # CVAT 2.73 answers 500 if a skeleton has an element on another frame, until it is deleted by id.
    if annotation_store.has_unreadable_skeleton(db, [job["id"] for job in jobs]):
        raise server_error()


def _check_finite(db: Connection, jobs: Iterable[Row]) -> None:
    # Functions may return NaN. CVAT 2.73 then answers 500 until all annotations are deleted.
    if annotation_store.has_infinite_numbers(db, [job["id"] for job in jobs]):
        raise server_error()


def _without_ids(annotations: Annotations) -> Annotations:
    for items in (annotations.tags, annotations.shapes, annotations.tracks):
        for item in items:
            item.pop("id", None)
            for element in item.get("elements", ()):
                element.pop("id", None)
    return annotations


def _document(parts: Iterable[list[bytes]]) -> Reply:
    tags, shapes, tracks = (b",".join(part) for part in parts)
    content = b'{"version":0,"tags":[%b],"shapes":[%b],"tracks":[%b],"intervals":[]}' % (tags, shapes, tracks)
    return Reply(content=content)


def _annotations_json(annotations: Annotations) -> Reply:
    body: dict[str, Any] = {
        "version": 0,
        "tags": annotations.tags,
        "shapes": annotations.shapes,
        "tracks": annotations.tracks,
        "intervals": [],
    }
    return Reply(json=body)
