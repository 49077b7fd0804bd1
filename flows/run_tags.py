"""How a flow run is known again: by tags that say what it works on, with what, and with which result.

Two runs have the same key only if they would write the same to the jobs that they have in common: same task,
media, function, settings. So `annotate_project` finds the jobs that no run has annotated yet, and nothing is
annotated twice for nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterable
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from pydantic_core import to_jsonable_python

from prefect_cvat.auto_annotation.function_calls import read_attribute
from prefect_cvat.auto_annotation.loading import find_function, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.inference.imported_code import ReachedCode, UnknownCodeError
from prefect_cvat.options.existing import ExistingSource
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks.devices import loaded_function

__all__ = [
    "add_tags",
    "completed_jobs",
    "function_version",
    "last_run",
    "look_up_version",
    "run_key",
    "shard_key",
    "task_tag",
]


def task_tag(url: str, task_id: int) -> str:
    """The tag of runs on a task, such as `cvat.example.com/tasks/42`."""
    return f"{server_identity(url)}/tasks/{task_id}"


def function_version(function: CvatFunction, loaded: Any, tell: Callable[[str], object] | None = None) -> str:
    """A digest of a function and of how it is used; it changes when the function may find something else.

    It is the same on all machines, before and after the function was used. A function is taken at the word
    of its `version`; of any other the code counts, and not what it holds. Where it cannot be told what the
    code does, it is another one each time, so that nothing is taken to be done, and `tell` is told why.
    """
    version: object = read_attribute(loaded, "version")
    if not isinstance(version, str | int):
        try:
            version = _code_of(function)
        except UnknownCodeError as error:
            version = str(uuid.uuid4())
            if tell is not None:
                tell(
                    f"function {function.function} has no `version`, and reaches {error}, which cannot be"
                    " compared between runs"
                )
    settings = function.model_dump(include=set(CvatFunction.model_fields) - {"device"})
    return _digest([version, settings])


def look_up_version(function: CvatFunction, server: str, tell: Callable[[str], object] | None = None) -> str:
    """The `function_version` of a function that is not loaded yet.

    It is loaded for that, on the CPU, so that it does not wait for a device.

    Args:
        function: The function.
        server: The CVAT server; a slot of it is taken meanwhile.
        tell: Is told why the code cannot be compared between runs, if so.
    """
    device = "cpu" if takes_parameter(function.function, "device") else None
    with loaded_function(function.model_copy(update={"device": device}), server) as loaded:
        return function_version(function, loaded, tell)


def _code_of(function: CvatFunction) -> list[str]:
    reached = ReachedCode()
    reached.add(find_function(function.function))
    return reached.lines()


def run_key(url: str, task_id: int, media: object, version: str, kind: object, options: Options) -> str:
    """The tag that runs share which would write the same to a job.

    Args:
        url: The server.
        task_id: The task.
        media: What changes with the task's media: `chunks_updated_date`.
        version: That of the function, see `function_version`.
        kind: What kind of run it is, with the options of its own, as JSON or what becomes JSON.
        options: How it is done. Its jobs do not count.
    """
    frames = None if options.selection.frames is None else sorted(options.selection.frames)
    settings: list[object] = [options.existing, options.quality, options.on_frame_error, frames]
    if options.leaves_out_annotated:
        settings += [options.skip_existing_iou, options.selection.unannotated]
        if options.skip_existing_source is not ExistingSource.MANUAL:
            settings.append(options.skip_existing_source)
    return f"key:{_digest([server_identity(url), task_id, str(media), version, kind, settings])}"


def shard_key(key: str, jobs: Collection[int] | None) -> str:
    """The tag of runs with a key on the same jobs."""
    return f"{key}/{'all jobs' if jobs is None else _digest(sorted(jobs))}"


def add_tags(tags: Iterable[str]) -> None:
    """Give the current flow run tags, beside those that it has."""
    with get_client(sync_client=True) as prefect:
        before = prefect.read_flow_run(flow_run.id).tags
        prefect.update_flow_run(flow_run.id, tags=[*before, *(tag for tag in tags if tag not in before)])


def last_run(prefect: SyncPrefectClient, tag: str) -> FlowRun | None:
    """The newest run with a tag."""
    runs = prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=1,
    )
    return runs[0] if runs else None


def completed_jobs(prefect: SyncPrefectClient, key: str, jobs: Collection[int]) -> set[int]:
    """Which jobs of a task completed runs with a key have annotated."""
    completed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[key]), state=completed)
    found: set[int] = set()
    for run in _each_run(prefect, wanted):
        frames = run.parameters.get("frames") or {}
        found.update(jobs if frames.get("jobs") is None else frames["jobs"])
        if found.issuperset(jobs):
            break
    return found.intersection(jobs)


def _each_run(prefect: SyncPrefectClient, wanted: FlowRunFilter, page: int = 200) -> Iterable[FlowRun]:
    offset = 0
    while runs := prefect.read_flow_runs(flow_run_filter=wanted, limit=page, offset=offset):
        yield from runs
        offset += len(runs)


def _digest(value: object) -> str:
    """Of what the value says as JSON, whatever the order of its keys."""
    text = json.dumps(to_jsonable_python(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
