"""GET, PUT, PATCH and DELETE of the annotations of jobs and tasks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.annotations import annotation_store, task_annotations
from prefect_cvat.sandbox.annotations.annotation_body import Annotations, accept
from prefect_cvat.sandbox.annotations.annotation_store import Labels
from prefect_cvat.sandbox.annotations.ground_truth_pool import adapt_to_pool, refuse_tracks_in_pool
from prefect_cvat.sandbox.annotations.track_parts import cut
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import HTML, NO_CONTENT, ApiError, Json, Reply, bad_request, server_error
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.change_events import recorded
from prefect_cvat.sandbox.tasks.tasks import touch

_Part = tuple[Row, Annotations]
_ACTIONS = ("create", "update", "delete")


def get_job_annotations(call: Call) -> Reply:
    """GET jobs/ID/annotations."""
    with call.state.database.read(call.fault.lag) as db:
        job = permissions.job_of(call, db, call.path_id())
        _check_readable(db, [job])
        return _document(annotation_store.bodies(db, table, job["id"]) for table in annotation_store.TABLES)


def get_task_annotations(call: Call) -> Reply:
    """GET tasks/ID/annotations: what the jobs that task-level writes reach have on their own frames."""
    with call.state.database.read(call.fault.lag) as db:
        task = permissions.task_of(call, db, call.path_id())
        if task["data_id"] is None:
            raise ApiError(
                400, "Exporting annotations from a task without data is not allowed", media_type=HTML
            )
        jobs = task_annotations.reached_jobs(db, task)
        _check_readable(db, jobs)
        return _document(task_annotations.stored(db, jobs))


def put_job_annotations(call: Call) -> Reply:
    """PUT jobs/ID/annotations: replaces everything."""
    with recorded(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        _check_readable(db, [job])
        annotations = _without_ids(accept(call.json(), new=False))
        changed = annotation_store.clear(db, [job["id"]])
        written = _insert_into_job(call, db, job, annotations)
        if _holds_any(written):
            changed.add(job["id"])
        _mark_changed(db, job["task_id"], changed)
    return _written(written)


def patch_job_annotations(call: Call) -> Reply:
    """PATCH jobs/ID/annotations?action=create|update|delete. Frames of other jobs are stored too."""
    action = _action(call)
    with recorded(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        annotations = accept(call.json(), new=action == "create", known=action == "delete")
        if action != "create":
            annotation_store.delete(db, job["id"], annotations)
        if action != "delete":
            annotations = _insert_into_job(call, db, job, annotations)
        _mark_changed(db, job["task_id"], {job["id"]} if _holds_any(annotations) else set())
    return _written(annotations)


def delete_job_annotations(call: Call) -> Reply:
    """DELETE jobs/ID/annotations."""
    with recorded(call) as db:
        job = permissions.job_of(call, db, call.path_id())
        _check_readable(db, [job])
        _mark_changed(db, job["task_id"], annotation_store.clear(db, [job["id"]]))
    return NO_CONTENT


def put_task_annotations(call: Call) -> Reply:
    """PUT tasks/ID/annotations: replaces everything in all the jobs that task-level writes reach."""
    with recorded(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        if task["data_id"] is None:
            raise server_error()
        jobs = task_annotations.reached_jobs(db, task)
        _check_readable(db, jobs)
        annotations = _without_ids(accept(call.json(), new=False))
        annotations = adapt_to_pool(db, task, annotations, action="create")
        changed = annotation_store.clear(db, [job["id"] for job in jobs])
        parts = _insert_into_jobs(call, db, task, _by_job(jobs, annotations))
        _mark_changed(db, task["id"], changed | {job["id"] for job, _ in parts})
    return _written(task_annotations.joined(parts))


def patch_task_annotations(call: Call) -> Reply:
    """PATCH tasks/ID/annotations?action=create|update|delete. Frames that the task lacks are passed over."""
    with recorded(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        action = _action(call)
        body = call.json()
        if task["data_id"] is None:
            raise bad_request("'NoneType' object has no attribute 'validation_mode'")
        annotations = adapt_to_pool(
            db, task, accept(body, new=action == "create", known=action == "delete"), action=action
        )
        parts = list(_by_job(task_annotations.reached_jobs(db, task), annotations))
        if action != "create":
            for job, part in parts:
                annotation_store.delete(db, job["id"], part)
        if action != "delete":
            parts = _insert_into_jobs(call, db, task, parts)
            annotations = task_annotations.joined(parts)
        _mark_changed(db, task["id"], {job["id"] for job, _ in parts})
    return _written(annotations)


def delete_task_annotations(call: Call) -> Reply:
    """DELETE tasks/ID/annotations."""
    with recorded(call) as db:
        task = permissions.task_of(call, db, call.path_id())
        if task["data_id"] is None:
            raise server_error()
        jobs = task_annotations.reached_jobs(db, task)
        _check_readable(db, jobs)
        _mark_changed(db, task["id"], annotation_store.clear(db, [job["id"] for job in jobs]))
    return NO_CONTENT


def _action(call: Call) -> str:
    action = call.query.get("action")
    if action not in _ACTIONS:
        raise bad_request(["Please specify a correct 'action' for the request"])
    return action


def _check_readable(db: Connection, jobs: Iterable[Row]) -> None:
    # CVAT 2.73 fails so on a skeleton with an element on another frame; only a deletion by id helps.
    if annotation_store.is_poisoned(db, [job["id"] for job in jobs]):
        raise server_error()


def _without_ids(annotations: Annotations) -> Annotations:
    for items in (annotations.tags, annotations.shapes, annotations.tracks):
        for item in items:
            item.pop("id", None)
            for element in item.get("elements", ()):
                element.pop("id", None)
    return annotations


def _insert_into_job(call: Call, db: Connection, job: Row, annotations: Annotations) -> Annotations:
    task = permissions.task_behind(db, job)
    refuse_tracks_in_pool(task, annotations)
    labels = Labels(db, task)
    tracks = [track for track in annotations.tracks if track["shapes"] or track["elements"]]
    kept = Annotations(tags=annotations.tags, shapes=annotations.shapes, tracks=tracks)
    written = annotation_store.insert(db, job["id"], kept, labels)
    _lose_part(call, db, [(job, written)])
    return written


def _insert_into_jobs(call: Call, db: Connection, task: Row, parts: Iterable[_Part]) -> list[_Part]:
    labels = Labels(db, task)
    written = [(job, annotation_store.insert(db, job["id"], part, labels)) for job, part in parts]
    _lose_part(call, db, written)
    return written


def _lose_part(call: Call, db: Connection, parts: Iterable[_Part]) -> None:
    # In the transaction that has written it: nobody sees what a fault leaves out.
    written = [
        (job["id"], table, item["id"])
        for job, part in parts
        for table, items in zip(annotation_store.TABLES, (part.tags, part.shapes, part.tracks), strict=True)
        for item in items
    ]
    for job_id, table, number in call.fault.lost(written):
        annotation_store.delete_one(db, table, job_id, number)


def _by_job(jobs: list[Row], annotations: Annotations) -> Iterator[_Part]:
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
        if _holds_any(part):
            yield job, part


def _by_frame(items: list[Json]) -> dict[int, list[Json]]:
    found: defaultdict[int, list[Json]] = defaultdict(list)
    for item in items:
        found[item["frame"]].append(item)
    return found


def _holds_any(annotations: Annotations) -> bool:
    return bool(annotations.tags or annotations.shapes or annotations.tracks)


def _mark_changed(db: Connection, task_id: int, job_ids: Iterable[int]) -> None:
    # CVAT 2.73: a write that neither brings nor removes anything leaves the dates as they are.
    changed = set(job_ids)
    for number in changed:
        row = db.execute("SELECT updated_date FROM job WHERE id = ?", (number,)).fetchone()
        moment = timestamps.later_than(row["updated_date"])
        db.execute("UPDATE job SET updated_date = ? WHERE id = ?", (moment, number))
    if changed:
        touch(db, task_id)


def _document(parts: Iterable[list[bytes]]) -> Reply:
    tags, shapes, tracks = (b",".join(part) for part in parts)
    content = b'{"version":0,"tags":[%b],"shapes":[%b],"tracks":[%b],"intervals":[]}' % (tags, shapes, tracks)
    return Reply(content=content)


def _written(annotations: Annotations) -> Reply:
    body: dict[str, Any] = {
        "version": 0,
        "tags": annotations.tags,
        "shapes": annotations.shapes,
        "tracks": annotations.tracks,
        "intervals": [],
    }
    return Reply(json=body)
