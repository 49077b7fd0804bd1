"""The command `serve`: unattended operation on this machine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prefect_cvat.cli.command import Only, command
from prefect_cvat.cli.commands.setup import ScopeOptions
from prefect_cvat.cli.console import stdout
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.option_base import OnCommandLine

__all__ = ["serve"]


class _Serve(ScopeOptions):
    nightly: Annotated[
        str | None,
        OnCommandLine(metavar="CRON"),
        Field(description="When the project is annotated; initially `0 2 * * *`, 2 a.m."),
    ] = None
    timezone: Annotated[
        str | None,
        OnCommandLine(metavar="NAME"),
        Field(description="Time zone of CRON, such as Europe/Berlin; initially UTC."),
    ] = None
    function_block: Annotated[
        str | None,
        OnCommandLine(metavar="NAME"),
        Field(description="Block with a configured function, instead of --function."),
    ] = None
    limit: Annotated[int, Field(ge=2, description="Maximum number of runs on this machine at a time.")] = 5


@command
def serve(
    function: Annotated[FunctionChoice, Only("function")],
    labels: Annotated[LabelOptions, Only("allow_unmatched_labels")],
    options: _Serve,
) -> None:
    """Create the deployments, and execute their runs on this machine until interrupted.

    Runs are started in Prefect's UI, by a schedule, or by webhooks (`prefect-cvat webhooks`). Schedules and
    automations are created or changed only with --project or --all-tasks. Project and function are defaults,
    which can be changed in the form of a run.

    \b
    Example:
      prefect-cvat serve --nightly "0 2 * * *" --timezone Europe/Berlin --project 7 \\
        --function nanodet_detection --allow-unmatched-labels
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.deployments.nightly_schedule import NightlySchedule
    from prefect_cvat.deployments.prefect_yaml import DefaultFunction
    from prefect_cvat.deployments.scope import Scope
    from prefect_cvat.deployments.serve_deployments import serve_deployments

    serve_deployments(
        credentials=options.credentials,
        default_function=DefaultFunction(
            function=function.function,
            function_block=options.function_block,
            allow_unmatched_labels=labels.allow_unmatched_labels,
        ),
        scope=Scope(project_id=options.project, all_tasks=options.all_tasks),
        nightly=NightlySchedule(cron=options.nightly, timezone=options.timezone),
        runs_at_a_time=options.limit,
        echo=lambda line: stdout.print(line, markup=False),
    )
