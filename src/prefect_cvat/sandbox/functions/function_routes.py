"""Routes of functions: the list, one of them, and a call."""

import json
import re
from typing import Any

from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import HTML, NOT_FOUND_PAGE, ApiError, Reply
from prefect_cvat.sandbox.functions.frames import Frames
from prefect_cvat.sandbox.functions.function_calls import invoke
from prefect_cvat.sandbox.functions.function_record import UnusableFunctionError, read_function
from prefect_cvat.sandbox.functions.gateway import Gateway, errors_of_gateway
from prefect_cvat.sandbox.tasks.labels import labels_of_task

_NAME = re.compile(r"[a-zA-Z0-9_.-]+")


def list_functions(call: Call) -> Reply:
    """GET lambda/functions: all functions that can be used; every user sees them."""
    gateway = Gateway(call.state.nuclio)
    with errors_of_gateway():
        shown = map(_shown, gateway.records().values())
        return Reply(json=[function for function in shown if function is not None])


def get_function(call: Call) -> Reply:
    """GET lambda/functions/NAME."""
    name = _name(call)
    gateway = Gateway(call.state.nuclio)
    with errors_of_gateway():
        return Reply(json=gateway.function(name).shown)


def call_function(call: Call) -> Reply:
    """POST lambda/functions/NAME: calls it with a frame.

    Whoever sees the job or the task may do that.
    """
    name = _name(call)
    body = call.json_object()
    task_id, job_id = body.get("task"), body.get("job")
    if task_id is None and job_id is None:
        raise ApiError(400, f"`{name}` lambda function was run with wrong arguments ('task')")
    with call.state.database.read() as db:
        frames = Frames.of_request(call, db, task_id, job_id)
        labels = labels_of_task(db, frames.task)
    gateway = Gateway(call.state.nuclio)
    with errors_of_gateway():
        found = invoke(gateway, gateway.function(name), frames, labels, body, call.state.secret)
        # NaN and infinite numbers are a ValueError: CVAT cannot send them
        json.dumps(found, allow_nan=False)
    return Reply(content=b"", media_type=None) if found is None else Reply(json=found)


def _shown(record: Any) -> Any:
    try:
        return read_function(record).shown
    except UnusableFunctionError:
        return None


def _name(call: Call) -> str:
    name = str(call.params["name"])
    if not _NAME.fullmatch(name):
        raise ApiError(404, NOT_FOUND_PAGE, media_type=HTML)
    return name
