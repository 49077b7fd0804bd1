"""How a flow run is known again: by tags that say what it works on, with what, and with which result.

Two runs have the same key only if they would write the same: same task, media, function, settings. So
`annotate_project` finds the tasks that have no run yet, and nothing is annotated twice for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from pydantic_core import to_json

from prefect_cvat.fingerprint import fingerprint
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options import Options

__all__ = ["add_tags", "function_version", "last_run", "run_key", "task_tag"]


def task_tag(url: str, task_id: int) -> str:
    """The tag of runs on a task, such as `cvat.example.com/tasks/42`."""
    return f"{urlsplit(url).netloc}/tasks/{task_id}"


def function_version(function: CvatFunction, loaded: Any) -> str:
    """A digest of a function and of how it is used; it changes when the function may find something else.

    Where the function itself cannot be looked through (see `fingerprint`), its name stands for it.
    """
    settings = function.model_dump(include=set(CvatFunction.model_fields) - {"device"})
    return _digest([fingerprint(loaded) or function.function, settings])


def run_key(url: str, task_id: int, media: object, version: str, kind: object, options: Options) -> str:
    """The tag that runs share which would write the same.

    Args:
        url: The server.
        task_id: The task.
        media: What changes with the task's media: `chunks_updated_date`.
        version: That of the function, see `function_version`.
        kind: What kind of run it is, with the options of its own.
        options: How it is done.
    """
    selection = options.selection
    said = [str(kind), options.existing, options.quality]
    chosen = [None if some is None else sorted(some) for some in (selection.frames, selection.jobs)]
    return f"key:{_digest([url, task_id, str(media), version, said, chosen])}"


def add_tags(tags: Iterable[str]) -> None:
    """Give the current flow run tags, beside those that it has."""
    with get_client(sync_client=True) as prefect:
        before = prefect.read_flow_run(flow_run.id).tags
        prefect.update_flow_run(flow_run.id, tags=[*before, *(tag for tag in tags if tag not in before)])


def last_run(prefect: SyncPrefectClient, key: str) -> tuple[FlowRun | None, int]:
    """The newest run with this key, and how many there have been."""
    runs = prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[key])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=100,
    )
    return (runs[0] if runs else None), len(runs)


def _digest(value: object) -> str:
    return hashlib.sha256(to_json(value)).hexdigest()[:16]
