"""A run on a task, or on a shard of it, with the slots that it needs; in flow runs and Prefect tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect.runtime import flow_run

from prefect_cvat.cvat.client import Client
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.tasks.prefect_limits import DEFAULT_RUNS_PER_SERVER, server_limit
from prefect_cvat.tasks.wait_for_device import DeviceInUseError, loaded_function, needs_no_device
from prefect_cvat.tasks.wait_for_task import task_slots

__all__ = ["run_in_slots"]


@contextmanager
def run_in_slots(
    client: Client,
    task_id: int,
    function: CvatFunction,
    options: Options,
    new_run: Callable[[Client, Any], Run],
    *,
    is_shard: bool = False,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[tuple[Run, Any]]:
    """Make a run with the id of the current flow run, once its slots are free.

    Waits until no other run uses the task (or its selected jobs), until a device is free, and until the
    CVAT server has a free slot. A run on selected jobs without a device takes all its slots at the same time.

    Args:
        client: The server.
        task_id: The task.
        function: The function and its settings.
        options: The options of the run.
        new_run: Makes the run from a client and the loaded function.
        is_shard: Whether it is a shard, see `task_slots`.
        warn: Called with a message about once a minute while it waits.

    Yields:
        The run, and the loaded function.
    """
    with ExitStack() as slots:
        loaded = _load_in_slots(
            slots, client.url, task_id, function, options.selection.jobs, is_shard=is_shard, warn=warn
        )
        run = new_run(client, loaded)
        run.set_metadata(str(flow_run.id), function.function_parameters or {})
        yield run, loaded


def _load_in_slots(
    slots: ExitStack,
    url: str,
    task_id: int,
    function: CvatFunction,
    jobs: Collection[int] | None,
    *,
    is_shard: bool,
    warn: Callable[[str], object],
) -> Any:
    """Take the slots of a run, and load its function; `slots` closes it and returns the slots."""
    devices: Collection[str | None] = ()
    if jobs is not None and needs_no_device(function):  # the same number of slots of all limits
        server = {server_limit(url): DEFAULT_RUNS_PER_SERVER}
        try:
            with ExitStack() as taken:
                taken.enter_context(task_slots(url, task_id, jobs, is_shard=is_shard, also=server, warn=warn))
                loaded = taken.enter_context(loaded_function(function, None, warn=warn))
                slots.push(taken.pop_all())
                return loaded
        except DeviceInUseError as error:  # it has chosen a device by itself
            devices = error.devices
    slots.enter_context(task_slots(url, task_id, jobs, is_shard=is_shard, warn=warn))
    return slots.enter_context(loaded_function(function, url, devices=devices, warn=warn))
