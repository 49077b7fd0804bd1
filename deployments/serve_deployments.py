"""`prefect-cvat serve`: a process that creates the deployments, and executes their runs on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable

from prefect import serve
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    temporary_settings,
)

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import HEARTBEAT_SECONDS, set_up_automations
from prefect_cvat.deployments.block_references import credentials_reference, name_blocks_by_id
from prefect_cvat.deployments.credentials_block import load_credentials
from prefect_cvat.deployments.nightly_schedule import NightlySchedule, set_up_schedule
from prefect_cvat.deployments.prefect_server import check_server_version, prefect_server
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_PROJECT, DefaultFunction, make_deployments
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.exceptions import ServerError, TooManyRequestsError, TransportError
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.metrics import serve_metrics
from prefect_cvat.planning.task_search import check_project_is_visible
from prefect_cvat.settings import Settings

__all__ = ["serve_deployments"]

OUTAGE_SETTINGS = {PREFECT_CLIENT_RETRY_EXTRA_CODES: "500", PREFECT_CLIENT_MAX_RETRIES: "6"}
"""How this process and its runs endure that the Prefect server, or its database, is away for two minutes.

A server without its database answers 500, which Prefect does not retry by default: after three of them
`serve` ends, and with it its runs. For workers `prefect.yaml` has the same.
"""

LOG_INTERVAL = "PREFECT_LOGGING_TO_API_BATCH_INTERVAL", "5"
"""How often the lines of a run's log are sent to the Prefect server, in seconds, as in `prefect.yaml`."""


def serve_deployments(
    *,
    credentials: str,
    default_function: DefaultFunction,
    scope: Scope,
    nightly: NightlySchedule,
    runs_at_a_time: int,
    echo: Callable[[str], None],
) -> None:
    """Create the deployments, the schedule and the automations, and execute runs until interrupted.

    Schedules stay active when the process ends: a run that was due in the meantime starts with the next one.

    Args:
        credentials: The name of the block with the credentials for CVAT.
        default_function: The function of the deployments.
        scope: The project, or all tasks, for `annotate project`, its schedule and the automation for new
            tasks. Without it, schedules and automations for new tasks are not created or changed.
        nightly: The time of the schedule.
        runs_at_a_time: The number of runs that this process executes at a time, at least 2: a run on a
            project waits for the runs on its tasks.
        echo: Called with each line of output.

    Raises:
        ValueError: PREFECT_API_URL is not set, a block does not exist, or a time is given without a scope.
        ApiError: The user does not see the project.
        TransportError: The Prefect server does not answer, or refuses a request.
    """
    if runs_at_a_time < 2:
        raise ValueError("a run on a project waits for the runs on its tasks; let 2 or more run at a time")
    if nightly and not scope:
        raise ValueError("--nightly and --timezone need a project; pass --project ID too, or --all-tasks")
    with prefect_server():
        for line in check_server_version():
            echo(line)
        stored = load_credentials(credentials)
        if scope.project_id is not None:
            _check_project(stored, scope.project_id, echo)
        if default_function.function_block is not None:
            _check_function_block(default_function.function_block)
        deployments = make_deployments(
            credentials=credentials, default_function=default_function, scope=scope
        )
        for deployment in deployments:
            deployment.parameters = name_blocks_by_id(deployment.parameters)
            deployment.apply()
            echo(f"deployment {deployment.full_name!r}")
        if not scope:
            echo(
                f"no project is given: each run of {ANNOTATE_PROJECT!r} has to name one, and no schedule or"
                " automation for new tasks is created; pass --project ID, or --all-tasks"
            )
        reference = name_blocks_by_id({"credentials": credentials_reference(credentials)})["credentials"]
        for line in set_up_schedule(scope, nightly, reference):
            echo(line)
        for line in set_up_automations(credentials, stored, scope):
            echo(line)
        if serve_metrics():
            echo(f"metrics at port {Settings().metrics_port}")
        os.environ.setdefault(*LOG_INTERVAL)  # runs inherit it
        with temporary_settings(set_defaults=OUTAGE_SETTINGS):
            serve(
                *deployments,
                limit=runs_at_a_time,
                heartbeat_seconds=HEARTBEAT_SECONDS,
                pause_on_shutdown=False,
            )


def _check_project(credentials: CvatCredentials, project_id: int, echo: Callable[[str], None]) -> None:
    """Check that the user sees the project; a CVAT server that does not answer only gives a warning."""
    try:
        with credentials.get_client() as client:
            check_project_is_visible(client, project_id)
    except (TransportError, ServerError, TooManyRequestsError) as error:
        echo(f"project {project_id} could not be checked: {error}")


def _check_function_block(name: str) -> None:
    try:
        CvatFunction.load(name)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"there is no usable block cvat-function/{name} on the Prefect server ({reason});"
            " create it in Prefect's UI, Blocks, or name another one with --function-block"
        ) from None
