"""The tags of flow runs: the task, the function, and the function with a key (`nanodet_detection@9f3c...`).

The key is a digest of task, media, function and settings. Two runs with the same key write the same
annotations to the jobs that they have in common. So `annotate_project` finds the jobs that a completed run
has annotated, and does not annotate them again.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from pydantic_core import to_jsonable_python

from prefect_cvat.auto_annotation.function_calls import close_function, read_attribute
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.functions_in_parameters import with_device
from prefect_cvat.auto_annotation.labels_for_factories import labels_of_task
from prefect_cvat.auto_annotation.loading import find_function, parse_parameters
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError
from prefect_cvat.inference.function_digest.imported_code import ReachedCode
from prefect_cvat.inference.function_digest.named_files import digests_of_named_files
from prefect_cvat.models import Label
from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.existing_annotation_options import ExistingSource
from prefect_cvat.options.frame_options import read_jobs
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks.prefect_limits import server_slot
from prefect_cvat.tasks.wait_for_device import takes_device

__all__ = [
    "add_tags",
    "function_key",
    "is_key_tag",
    "jobs_of",
    "key_tag",
    "last_run",
    "load_function_key",
    "run_key",
    "settings_tag",
    "shard_key",
    "task_tag",
]


def task_tag(url: str, task_id: int) -> str:
    """The tag of runs on a task, such as `cvat.example.com/tasks/42`."""
    return f"{server_identity(url)}/tasks/{task_id}"


def function_key(function: CvatFunction, loaded: Any, warn: Callable[[str], object] | None = None) -> str:
    """A digest of a function and its settings, which changes when the function may find something else.

    The digest is the same on all machines, and does not depend on the state of the loaded function. It is
    made of the function's `version`, or else of its code and of the files and folders that its parameters
    name, such as weights. If these cannot be determined, the digest is random, so that no earlier run counts
    as done. Models of the Hub count by their name and `revision`.

    Args:
        function: The function and its settings.
        loaded: The function, loaded.
        warn: Called with the reason if the digest is random.
    """
    version: object = read_attribute(loaded, "version")
    if not isinstance(version, str | int):
        try:
            version = [*_code_of(function), *_files_of(function)]
        except UnknownCodeError as error:
            version = str(uuid.uuid4())
            if warn is not None:
                warn(
                    f"function {function.function} has no `version`, and reaches {error}, which cannot be"
                    " compared between runs"
                )
    settings = function.model_dump(include=set(CvatFunction.model_fields) - set(ModelOptions.model_fields))
    if function.prompts is None:  # as before there were prompts
        del settings["prompts"]
    return _digest([version, settings])


def load_function_key(
    function: CvatFunction, server: str, warn: Callable[[str], object] | None = None
) -> tuple[str, bool]:
    """Load a function, and return its `function_key`, and whether it is made for the labels of a task.

    No slot of a device is taken or waited for: the function is loaded on the CPU, and so are the functions
    that it runs. One that takes no device and chooses a GPU by itself is loaded there, without a slot; so
    is one that cannot be loaded on the CPU, such as with `providers` of ONNX Runtime for a GPU.

    Args:
        function: The function.
        server: The URL of the CVAT server; one of its slots is taken until the function is loaded.
        warn: See `function_key`.
    """
    with server_slot(server):
        try:
            loaded = _on_cpu(function).get_function()
        except FunctionLoadError:
            loaded = function.get_function()
        try:
            return function_key(function, loaded, warn), isinstance(loaded, FunctionForTask)
        finally:
            close_function(loaded)


def _on_cpu(function: CvatFunction) -> CvatFunction:
    """A function with the CPU for its device, and for each device that its parameters name."""
    parameters = dict(function.function_parameters or {})
    for name, value in parse_parameters(parameters).items():
        if name.rpartition(".")[2] == "device":
            parameters[name] = "str:cpu"
        elif (on_cpu := with_device(value, "cpu")) != value:
            parameters[name] = f"json:{json.dumps(on_cpu)}"
    is_given = function.device is not None or takes_device(function)
    device = "cpu" if is_given else None
    return function.model_copy(update={"function_parameters": parameters, "device": device})


def _code_of(function: CvatFunction) -> list[str]:
    reached = ReachedCode()
    reached.add(find_function(function.function))
    return reached.lines()


def _files_of(function: CvatFunction) -> list[str]:
    return digests_of_named_files(parse_parameters(function.function_parameters or {}))


def run_key(
    url: str,
    task_id: int,
    media: object,
    version: str,
    kind: object,
    options: Options,
    made_for: Sequence[Label] = (),
) -> str:
    """The key of all runs that would write the same annotations to a job.

    Args:
        url: The URL of the CVAT server.
        task_id: The task.
        media: The task's `chunks_updated_date`, which changes with its media.
        version: The digest of the function, see `function_key`.
        kind: The kind of the run and its own options, serializable to JSON.
        options: The options of the run; its selected jobs are not part of the key.
        made_for: The labels of the task, for a function that is made for them.
    """
    parts = [server_identity(url), task_id, str(media), version, kind, _settings(options)]
    return _digest([*parts, *([labels_of_task(made_for)] if made_for else [])])


def settings_tag(url: str, version: str, kind: object, options: Options) -> str:
    """The tag of all runs on a server with the same function and settings, on any task; see `run_key`."""
    return f"settings:{_digest([server_identity(url), version, kind, _settings(options)])}"


def key_tag(function: str, key: str) -> str:
    """The tag of runs with a key, see `run_key`: function and key, such as `nanodet_detection@9f3c...`."""
    return f"{function}@{key}"


def is_key_tag(tag: str) -> bool:
    """Whether a tag is a `key_tag`."""
    return re.fullmatch(r".+@[0-9a-f]{16}", tag) is not None


def shard_key(tag: str, jobs: Collection[int] | None) -> str:
    """A key of runs with a `key_tag` on the same jobs; None for all jobs."""
    return f"{tag}/{'all jobs' if jobs is None else _digest(sorted(jobs))}"


def add_tags(tags: Iterable[str]) -> None:
    """Add tags to the current flow run."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    before = context.flow_run.tags
    if added := [tag for tag in tags if tag not in before]:
        context.flow_run.tags = [*before, *added]  # as they are from now on
        with get_client(sync_client=True) as prefect:
            prefect.update_flow_run(context.flow_run.id, tags=context.flow_run.tags)


def last_run(prefect: SyncPrefectClient, tag: str, jobs: Collection[int] | None) -> FlowRun | None:
    """The newest flow run with a `key_tag` on the same jobs; None for all jobs."""
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    return next((run for run in _each_run(prefect, wanted) if jobs_of(run) == _as_set(jobs)), None)


def jobs_of(run: FlowRun) -> set[int] | None:
    """The ids of the jobs that a run was started on; None for all."""
    return _as_set(read_jobs((run.parameters.get("frames") or {}).get("jobs")))


def _as_set(jobs: Collection[int] | None) -> set[int] | None:
    return None if jobs is None else set(jobs)


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


def _settings(options: Options) -> list[object]:
    """The options that change what a run writes to a job."""
    frames = None if options.selection.frames is None else sorted(options.selection.frames)
    settings: list[object] = [options.existing, options.quality, options.on_frame_error, frames]
    if options.leaves_out_annotated:
        settings += [options.skip_existing_iou, options.selection.unannotated]
        if options.skip_existing_source is not ExistingSource.MANUAL:
            settings.append(options.skip_existing_source)
    return settings


def _digest(value: object) -> str:
    """The digest of a value as JSON with sorted keys."""
    text = json.dumps(to_jsonable_python(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
