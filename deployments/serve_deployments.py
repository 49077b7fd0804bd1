"""Serving the deployments: a process that carries out their runs on this machine, without a work pool."""

from __future__ import annotations

from collections.abc import Callable

from prefect import serve

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import HEARTBEAT_SECONDS, set_up_automations
from prefect_cvat.deployments.nightly_schedule import Nightly, set_up_schedule
from prefect_cvat.deployments.prefect_server import prefect_server
from prefect_cvat.deployments.prefect_yaml import (
    ANNOTATE_PROJECT,
    Annotating,
    credentials_reference,
    make_deployments,
    name_blocks_by_id,
)
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.deployments.webhooks.webhook_secret import load_credentials
from prefect_cvat.exceptions import ServerError, TooManyRequestsError, TransportError
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.planning.task_search import check_project_is_visible

__all__ = ["serve_deployments"]


def serve_deployments(
    *,
    credentials: str,
    annotating: Annotating,
    scope: Scope,
    nightly: Nightly,
    runs_at_a_time: int,
    say: Callable[[str], None],
) -> None:
    """Make the deployments and the automations that start them, and carry out their runs until interrupted.

    When it ends, schedules stay active: what was due meanwhile is carried out when somebody serves again.

    Args:
        credentials: The name of the block that runs log in to CVAT with.
        annotating: What annotates, unless a run is started with something else.
        scope: The project, or all tasks, that `annotate project` is for, by day and by night, and whose new
            tasks start runs. Without one nothing starts by itself, and what does already stays as it is.
        nightly: When `annotate project` runs by itself.
        runs_at_a_time: How many runs this process carries out at a time. A run on a project waits for those
            on its tasks, so there must be room for two.
        say: Is told what was done.

    Raises:
        ValueError: No Prefect server is set, there is no such block, or a time is given and no project.
        ApiError: CVAT does not show the user the project.
        TransportError: The Prefect server does not answer, or refuses what it is asked for.
    """
    if runs_at_a_time < 2:
        raise ValueError("runs on projects wait for those on their tasks; let 2 or more run at a time")
    if nightly and not scope:
        raise ValueError(
            "--nightly and --timezone say when, and not for which project; pass --project ID too,"
            " or --all-tasks"
        )
    with prefect_server():
        stored = load_credentials(credentials)
        if scope.project_id is not None:
            _check_project(stored, scope.project_id, say)
        if annotating.function_block is not None:
            _check_function_block(annotating.function_block)
        deployments = make_deployments(credentials=credentials, annotating=annotating, scope=scope)
        for deployment in deployments:
            deployment.parameters = name_blocks_by_id(deployment.parameters)
            deployment.apply()
            say(f"deployment {deployment.full_name!r}")
        if not scope:
            say(
                f"no project is given: each run of {ANNOTATE_PROJECT!r} has to name one, and nothing is made"
                " to start by itself; pass --project ID, or --all-tasks"
            )
        log_in = name_blocks_by_id({"credentials": credentials_reference(credentials)})["credentials"]
        for line in set_up_schedule(scope, nightly, log_in):
            say(line)
        for line in set_up_automations(credentials, stored, scope):
            say(line)
        serve(
            *deployments,
            limit=runs_at_a_time,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            pause_on_shutdown=False,
        )


def _check_project(credentials: CvatCredentials, project_id: int, say: Callable[[str], None]) -> None:
    """Look whether the log-in sees the project. While CVAT is away, it is served nevertheless."""
    try:
        with credentials.get_client() as client:
            check_project_is_visible(client, project_id)
    except (TransportError, ServerError, TooManyRequestsError) as error:
        say(f"project {project_id} has not been looked up: {error}")


def _check_function_block(name: str) -> None:
    try:
        CvatFunction.load(name)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"there is no usable block cvat-function/{name} on the Prefect server ({reason}); make it in"
            " Prefect's UI, under Blocks, or name another one with --function-block"
        ) from None
