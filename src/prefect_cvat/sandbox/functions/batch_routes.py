"""Routes of functions on whole tasks: CVAT's "automatic annotation"."""

from typing import Any

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api import field_checks
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.field_checks import REQUIRED, FieldError
from prefect_cvat.sandbox.api.reply import (
    NO_CONTENT,
    ApiError,
    Json,
    Reply,
    bad_request,
    forbidden,
)
from prefect_cvat.sandbox.batch_queue import Batch
from prefect_cvat.sandbox.functions.batch_runs import BatchRun
from prefect_cvat.sandbox.functions.frames import Frames
from prefect_cvat.sandbox.functions.gateway import Gateway, errors_of_gateway
from prefect_cvat.sandbox.functions.region import read_region

_NUMBER = field_checks.number_within(float("-inf"), float("inf"))
_CHECKS = {
    "task": field_checks.integer,
    "job": field_checks.integer,
    "threshold": _NUMBER,
    "cleanup": field_checks.boolean,
    "conv_mask_to_poly": field_checks.boolean,
    "max_distance": field_checks.integer,
}


def list_batches(call: Call) -> Reply:
    """GET lambda/requests: those of the user on tasks that he may see as a whole."""
    with call.state.database.read() as db:
        tasks = {task["id"] for task in permissions.visible_tasks(call, db)}
    mine = [each for each in call.state.batches.all() if each.owner_id == call.user.id]
    return Reply(json=[_shown(batch) for batch in mine if batch.task_id in tasks])


def get_batch(call: Call) -> Reply:
    """GET lambda/requests/ID."""
    return Reply(json=_shown(_batch(call)))


def cancel_batch(call: Call) -> Reply:
    """DELETE lambda/requests/ID: it ends after the current frame, whose detections are dropped."""
    call.state.batches.remove(_batch(call))
    return NO_CONTENT


def start_batch(call: Call) -> Reply:
    """POST lambda/requests: queues a function on a task or a job."""
    body = _checked(call.json_object())
    with call.state.database.read() as db:
        frames = Frames.of_request(call, db, body["task"], body.get("job"))
    if frames.task["id"] != body["task"]:
        raise bad_request(["Job task ID does not match task ID"])
    gateway = Gateway(call.state.nuclio)
    with errors_of_gateway():
        function = gateway.function(body["function"])
    region = read_region(body.get("roi"), frames.sizes(frames.numbers))
    names = {"id": function.name, "task": body["task"]}
    if body.get("job") is not None:
        names["job"] = body["job"]
    batch = Batch(
        function={**names, "threshold": body.get("threshold")}, task_id=body["task"], owner_id=call.user.id
    )
    is_added = call.state.batches.add(
        batch, lambda queued: BatchRun(call, queued, gateway, function, frames, body, region).run()
    )
    if not is_added:
        raise ApiError(409, f"Only one running request is allowed for the same task #{body['task']}")
    return Reply(json=_shown(batch) | {"status": "queued", "started": None})


def _checked(body: Json) -> Json:
    checked: Json = {"function": body.get("function"), "roi": body.get("roi"), "mapping": body.get("mapping")}
    errors: Json = {name: [REQUIRED] for name in ("function", "task") if body.get(name) is None}
    for name, check in _CHECKS.items():
        if body.get(name) is None:
            continue
        try:
            checked[name] = check(body[name])
        except FieldError as error:
            errors[name] = error.body
    if errors:
        raise bad_request(errors)
    return checked


def _batch(call: Call) -> Batch:
    """The batch in the path.

    Raises:
        ApiError: 404 if there is none, 403 if it is of another user.
    """
    batch_id: Any = call.params["rq_id"]
    batch = call.state.batches.get(batch_id)
    if batch is None:
        raise ApiError(404, f"{batch_id} lambda job is not found")
    if batch.owner_id != call.user.id and not call.user.is_superuser:
        raise forbidden()
    return batch


def _shown(batch: Batch) -> Json:
    return {
        "id": batch.id,
        "function": batch.function,
        "status": batch.status,
        "progress": batch.progress,
        "enqueued": batch.enqueued,
        "started": batch.started,
        "ended": batch.ended,
        "exc_info": batch.exc_info,
    }
