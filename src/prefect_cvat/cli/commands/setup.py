"""The command `setup`: what an unattended operation needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, SecretStr

from prefect_cvat.cli.command import command, is_given
from prefect_cvat.cli.console import stdout
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.option_model import OnCommandLine, OptionModel

if TYPE_CHECKING:
    from prefect_cvat.credentials import CvatCredentials

__all__ = ["CredentialsOption", "ScopeOptions", "setup"]


class CredentialsOption(OptionModel):
    """The option for the credentials block."""

    credentials: Annotated[
        str,
        OnCommandLine(metavar="NAME"),
        Field(description="The block that says how to log in to CVAT."),
    ] = "main"


class ScopeOptions(CredentialsOption):
    """The options for tasks that are annotated automatically."""

    project: Annotated[
        Annotated[int, Field(ge=1)] | None,
        OnCommandLine(metavar="ID"),
        Field(description="A project whose new tasks are annotated, and that `serve` annotates each night."),
    ] = None
    all_tasks: Annotated[
        bool,
        Field(description="In place of a project: all tasks that the user may see, of any project or none."),
    ] = False


class _Setup(ScopeOptions):
    runs_per_server: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="Runs on the CVAT server at a time; at first 4."),
    ] = None
    work_pool: Annotated[
        str, OnCommandLine(metavar="NAME"), Field(description="The work pool of processes.")
    ] = "cvat"
    no_work_pool: Annotated[bool, Field(description="Make no work pool; `serve` needs none.")] = False
    webhook: Annotated[
        str | None,
        OnCommandLine(metavar="URL"),
        Field(description="Where CVAT reaches `prefect-cvat webhooks`: register a webhook for it."),
    ] = None


@command
def setup(options: _Setup) -> None:
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
        _given_credentials(),
        credentials=options.credentials,
        runs_per_server=options.runs_per_server,
        work_pool=None if options.no_work_pool else options.work_pool,
        scope=Scope(project_id=options.project, all_tasks=options.all_tasks),
        webhook=options.webhook,
    )
    for line in done:
        stdout.print(line, markup=False)


def _given_credentials() -> CvatCredentials | None:
    """The log-in of the options before the subcommand, if there is one.

    A token that stands in the environment is for the server that is named, and none if none is: it is not
    sent to the default address, where a stored log-in is meant.
    """
    from prefect_cvat.credentials import CvatCredentials

    server = given_server()
    login: dict[str, Any] = {}
    if (user_and_password := server.login()) is not None:
        login = {"username": user_and_password[0], "password": SecretStr(user_and_password[1])}
    elif server.access_token is not None and is_given("server_host", "access_token"):
        login = {"access_token": SecretStr(server.access_token)}
    else:
        return None
    return CvatCredentials(
        url=server.url, organization=server.organization, verify_tls=not server.insecure, **login
    )
