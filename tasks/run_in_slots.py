"""A run on a task, or on a shard of it, with the slots that it needs; in flow runs and Prefect tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    task_limit_is_kept: bool = False,
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
        task_limit_is_kept: The limit of the task is kept by `task_limit_kept`.
        warn: Called with a message about once a minute while it waits.

    Yields:
        The run, and the loaded function.
    """
    jobs = options.selection.jobs
    server = {server_limit(client.url): DEFAULT_RUNS_PER_SERVER}
    is_together = jobs is not None and needs_no_device(function)  # all slots in one request
    while True:
        try:
            with (
                task_slots(
                    client.url,
                    task_id,
                    jobs,
                    is_kept=task_limit_is_kept,
                    also=server if is_together else None,
                    warn=warn,
                ),
                loaded_function(function, None if is_together else client.url, warn=warn) as loaded,
            ):
                run = new_run(client, loaded)
                run.set_metadata(str(flow_run.id), function.function_parameters or {})
                yield run, loaded
                return
        except DeviceInUseError:
            is_together = False
