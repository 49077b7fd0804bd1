"""The tags and labels of flow runs: tags for people, and labels by which runs find each other.

The tags of a run are its task and its function. A label is a key of task, media, function and settings: two
runs with the same key write the same annotations to the jobs that they have in common. So `annotate_project`
finds the jobs that a completed run has annotated, and does not annotate them again.

Prefect cannot search for labels, and does not show them. So runs are searched for by the tag of their task.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.types import KeyValueLabels
from pydantic_core import to_jsonable_python
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from prefect_cvat.auto_annotation.function_calls import read_attribute
from prefect_cvat.auto_annotation.loading import find_function, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError
from prefect_cvat.inference.function_digest.imported_code import ReachedCode
from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.existing_annotation_options import ExistingSource
from prefect_cvat.options.frame_options import read_jobs
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks.wait_for_device import loaded_function

__all__ = [
    "add_tags",
    "completed_jobs",
    "function_key",
    "last_run",
    "load_function_key",
    "run_key",
    "set_key",
    "shard_key",
    "task_tag",
]


KEY_LABEL = "prefect-cvat.key"
SHARD_LABEL = "prefect-cvat.jobs"
"""The labels of a flow run: see `run_key` and `shard_key`."""


def task_tag(url: str, task_id: int) -> str:
    """The tag of runs on a task, such as `cvat.example.com/tasks/42`."""
    return f"{server_identity(url)}/tasks/{task_id}"


def function_key(function: CvatFunction, loaded: Any, warn: Callable[[str], object] | None = None) -> str:
    """A digest of a function and its settings, which changes when the function may find something else.

    The digest is the same on all machines, and does not depend on the state of the loaded function. It is
    made of the function's `version`, or else of its code. If the code cannot be determined, the digest is
    random, so that no earlier run counts as done.

    Args:
        function: The function and its settings.
        loaded: The function, loaded.
        warn: Called with the reason if the digest is random.
    """
    version: object = read_attribute(loaded, "version")
    if not isinstance(version, str | int):
        try:
            version = _code_of(function)
        except UnknownCodeError as error:
            version = str(uuid.uuid4())
            if warn is not None:
                warn(
                    f"function {function.function} has no `version`, and reaches {error}, which cannot be"
                    " compared between runs"
                )
    settings = function.model_dump(include=set(CvatFunction.model_fields) - set(ModelOptions.model_fields))
    return _digest([version, settings])


def load_function_key(
    function: CvatFunction, server: str, warn: Callable[[str], object] | None = None
) -> str:
    """Load a function, and return its `function_key`.

    The function is loaded on the CPU, so that it does not wait for a device.

    Args:
        function: The function.
        server: The URL of the CVAT server; one of its slots is taken until the function is loaded.
        warn: See `function_key`.
    """
    device = "cpu" if takes_parameter(function.function, "device") else None
    with loaded_function(function.model_copy(update={"device": device}), server) as loaded:
        return function_key(function, loaded, warn)


def _code_of(function: CvatFunction) -> list[str]:
    reached = ReachedCode()
    reached.add(find_function(function.function))
    return reached.lines()


def run_key(url: str, task_id: int, media: object, version: str, kind: object, options: Options) -> str:
    """The key of all runs that would write the same annotations to a job.

    Args:
        url: The URL of the CVAT server.
        task_id: The task.
        media: The task's `chunks_updated_date`, which changes with its media.
        version: The digest of the function, see `function_key`.
        kind: The kind of the run and its own options, serializable to JSON.
        options: The options of the run; its selected jobs are not part of the key.
    """
    frames = None if options.selection.frames is None else sorted(options.selection.frames)
    settings: list[object] = [options.existing, options.quality, options.on_frame_error, frames]
    if options.leaves_out_annotated:
        settings += [options.skip_existing_iou, options.selection.unannotated]
        if options.skip_existing_source is not ExistingSource.MANUAL:
            settings.append(options.skip_existing_source)
    return _digest([server_identity(url), task_id, str(media), version, kind, settings])


def shard_key(key: str, jobs: Collection[int] | None) -> str:
    """The key of runs with a run key on the same jobs; None for all jobs."""
    return f"{key}/{'all jobs' if jobs is None else _digest(sorted(jobs))}"


def add_tags(tags: Iterable[str]) -> None:
    """Add tags to the current flow run."""
    before: list[str] = flow_run.tags
    if added := [tag for tag in tags if tag not in before]:
        with get_client(sync_client=True) as prefect:
            prefect.update_flow_run(flow_run.id, tags=[*before, *added])


def set_key(key: str, jobs: Collection[int] | None, run_id: UUID | None = None) -> None:
    """Set the labels of a flow run: its run key, and the key of its jobs.

    Args:
        key: See `run_key`.
        jobs: The jobs that the run writes to; None for all.
        run_id: The flow run; None for the current one.
    """
    labels: KeyValueLabels = {KEY_LABEL: key, SHARD_LABEL: shard_key(key, jobs)}
    # SQLite refuses this request (503) whenever another write comes in between; Prefect's client would wait
    # for seconds before it tries again
    attempts = Retrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_delay(30),
        reraise=True,
    )
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as prefect:
        attempts(prefect.update_flow_run_labels, run_id or UUID(str(flow_run.id)), labels)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 503


def last_run(prefect: SyncPrefectClient, tag: str, key: str) -> FlowRun | None:
    """The newest flow run on a task, given by its tag, with a `shard_key`."""
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    return next((run for run in _each_run(prefect, wanted) if run.labels.get(SHARD_LABEL) == key), None)


def completed_jobs(prefect: SyncPrefectClient, tag: str, key: str, jobs: Collection[int]) -> set[int]:
    """The jobs, of those given, that completed runs on their task with a run key have annotated."""
    completed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]), state=completed)
    found: set[int] = set()
    for run in _each_run(prefect, wanted):
        if run.labels.get(KEY_LABEL) != key:
            continue
        its_jobs = read_jobs((run.parameters.get("frames") or {}).get("jobs"))
        found.update(jobs if its_jobs is None else its_jobs)
        if found.issuperset(jobs):
            break
    return found.intersection(jobs)


def _each_run(prefect: SyncPrefectClient, wanted: FlowRunFilter, page: int = 200) -> Iterator[FlowRun]:
    """The flow runs that match, newest first."""
    offset = 0
    newest_first = FlowRunSort.EXPECTED_START_TIME_DESC
    while runs := prefect.read_flow_runs(
        flow_run_filter=wanted, sort=newest_first, limit=page, offset=offset
    ):
        yield from runs
        if len(runs) < page:
            return
        offset += page


def _digest(value: object) -> str:
    """The digest of a value as JSON with sorted keys."""
    text = json.dumps(to_jsonable_python(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
