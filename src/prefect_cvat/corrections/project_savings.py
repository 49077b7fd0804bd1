"""What a first pass has saved in the tasks of a project."""

from __future__ import annotations

from collections.abc import Iterable

from prefect_cvat.corrections.saved_time import SavedTime, SavedTimeSum
from prefect_cvat.corrections.task_corrections import corrections_of_task
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import NoDataError, NotFoundError, RunNotFoundError, UnsupportedTaskError
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.options.correction_options import CorrectionSeconds
from prefect_cvat.records.record_reader import recorded_runs

__all__ = ["saved_in_tasks", "tasks_with_runs"]


def tasks_with_runs(url: str) -> set[int]:
    """The ids of tasks of a server on which a run is recorded on this machine.

    Raises:
        StorageError: A record cannot be read.
    """
    server = server_identity(url)
    return {run.task_id for run in recorded_runs() if server_identity(run.server) == server}


def saved_in_tasks(
    client: Client,
    task_ids: Iterable[int],
    *,
    name: str,
    url: str,
    seconds: CorrectionSeconds | None = None,
) -> SavedTime:
    """Add up what a first pass has saved in several tasks; tasks without a recorded run are left out.

    Args:
        client: The server, logged in.
        task_ids: The ids of the tasks.
        name: The name of the sum, such as `project 7`.
        url: The address of the project.
        seconds: The seconds of each action; None for the defaults.

    Raises:
        RunNotFoundError: No run on any of the tasks is recorded on this machine.
        PrefectCvatError: A request to the server failed, or a record cannot be read.
    """
    total = SavedTimeSum(seconds)
    recorded = tasks_with_runs(client.url)
    left_out: list[str] = []
    count = 0
    for task_id in task_ids:
        if task_id not in recorded:
            continue
        try:
            total.add(corrections_of_task(client, task_id), named=True)
            count += 1
        except (NoDataError, NotFoundError, RunNotFoundError, UnsupportedTaskError) as error:
            left_out.append(f"task {task_id} is left out: {error}")
    if not count:
        raise RunNotFoundError(
            "; ".join([f"no run on a task of {name} is recorded on this machine", *left_out])
            + "; set PREFECT_CVAT_RUNS_DIR to the shared storage of the machines that annotate"
        )
    done = total.result(name, url)
    return done.model_copy(update={"unknown": [*done.unknown, *left_out]})
