"""The subcommands `setup` and `serve`: what an unattended operation needs, and the operation itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from prefect_cvat.cli.options import AllowUnmatchedLabels, FunctionName, Server
from prefect_cvat.cli.output import stdout

if TYPE_CHECKING:
    from prefect_cvat.credentials import CvatCredentials

__all__ = ["serve", "setup"]

CredentialsName = Annotated[
    str, typer.Option(metavar="NAME", help="The block that says how to log in to CVAT.")
]

AllTasks = Annotated[
    bool,
    typer.Option(
        "--all-tasks", help="In place of a project: all tasks that the user may see, of any project or none."
    ),
]


def setup(
    context: typer.Context,
    credentials: CredentialsName = "main",
    runs_per_server: Annotated[
        int | None, typer.Option(min=1, help="Runs on the CVAT server at a time; at first 4.")
    ] = None,
    work_pool: Annotated[str, typer.Option(metavar="NAME", help="The work pool of processes.")] = "cvat",
    no_work_pool: Annotated[
        bool, typer.Option("--no-work-pool", help="Make no work pool; `serve` needs none.")
    ] = False,
    project: Annotated[
        int | None,
        typer.Option(min=1, metavar="ID", help="Annotate new tasks of this project."),
    ] = None,
    all_tasks: AllTasks = False,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where CVAT reaches `prefect-cvat webhooks`: register a webhook for it.",
        ),
    ] = None,
) -> None:
    """Make what runs need on the Prefect server: blocks, limits, a work pool, automations.

    It says what it did, and may be run again: what is there is left, or brought into line; of the
    automations for new tasks only that of the project that is named. A log-in is stored in the block, if one
    is given; its secrets are encrypted by Prefect. One to another server goes into a block of its own, with
    --credentials.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice setup --runs-per-server 2
      prefect-cvat setup --project 7 --webhook https://hooks.example.com/webhooks
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.deployments.scope import Scope
    from prefect_cvat.deployments.set_up_server import set_up

    done = set_up(
        _given_credentials(context),
        credentials=credentials,
        runs_per_server=runs_per_server,
        work_pool=None if no_work_pool else work_pool,
        scope=Scope(project_id=project, all_tasks=all_tasks),
        webhook=webhook,
    )
    for line in done:
        stdout.print(line, markup=False)


def serve(
    nightly: Annotated[
        str | None,
        typer.Option(metavar="CRON", help="When the project is annotated; at first `0 2 * * *`, 2 a.m."),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Timezone of CRON, such as Europe/Berlin; at first UTC."),
    ] = None,
    project: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="ID", help="The project that is annotated each night, and whose new tasks are."
        ),
    ] = None,
    all_tasks: AllTasks = False,
    function: FunctionName = None,
    function_block: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A block with a configured function, instead of a function."),
    ] = None,
    allow_unmatched_labels: AllowUnmatchedLabels = False,
    credentials: CredentialsName = "main",
    limit: Annotated[int, typer.Option(min=2, help="Runs on this machine at a time.")] = 5,
) -> None:
    """Make the deployments, and carry out their runs on this machine until interrupted.

    Without --project or --all-tasks nothing is made to run by itself, and what does so already stays as it
    is. Runs are started in Prefect's UI, by schedule, or by what `prefect-cvat webhooks` hears of. The
    project and the function are what they start from; the form of a run may say others.

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
        credentials=credentials,
        default_function=DefaultFunction(
            function=function, function_block=function_block, allow_unmatched_labels=allow_unmatched_labels
        ),
        scope=Scope(project_id=project, all_tasks=all_tasks),
        nightly=NightlySchedule(cron=nightly, timezone=timezone),
        runs_at_a_time=limit,
        echo=lambda line: stdout.print(line, markup=False),
    )


def _given_credentials(context: typer.Context) -> CvatCredentials | None:
    """The log-in of the options before the subcommand, if there is one.

    A token that stands in the environment is for the server that is named, and none if none is: it is not
    sent to the default address, where a stored log-in is meant.
    """
    from prefect_cvat.credentials import CvatCredentials

    server: Server = context.obj
    login: dict[str, Any] = {}
    if (user_and_password := server.login()) is not None:
        login = {"username": user_and_password[0], "password": SecretStr(user_and_password[1])}
    elif server.access_token is not None and _is_typed(context, "server_host", "access_token"):
        login = {"access_token": SecretStr(server.access_token)}
    else:
        return None
    return CvatCredentials(
        url=server.url, organization=server.organization, verify_tls=not server.insecure, **login
    )


def _is_typed(context: typer.Context, *options: str) -> bool:
    """Whether one of the options before the subcommand was given on the command line."""
    before = context.parent
    assert before is not None
    sources = (before.get_parameter_source(name) for name in options)
    return any(source is not None and source.name == "COMMANDLINE" for source in sources)
