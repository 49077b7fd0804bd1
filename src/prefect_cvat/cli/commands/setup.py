"""The command `setup`: creates what unattended runs need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from prefect_cvat.cli.command import command, is_given
from prefect_cvat.cli.console import stdout
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

if TYPE_CHECKING:
    from prefect_cvat.credentials import CvatCredentials

__all__ = ["CredentialsOption", "ScopeOptions", "setup"]


class CredentialsOption(OptionModel):
    """The option for the credentials block."""

    credentials: Annotated[
        str,
        OnCommandLine(metavar="NAME"),
        Field(description="Block with the login to CVAT."),
    ] = "main"


class ScopeOptions(CredentialsOption):
    """The options for tasks that are annotated automatically."""

    project: Annotated[
        Annotated[int, Field(ge=1)] | None,
        OnCommandLine(metavar="ID"),
        Field(description="Project whose new tasks are annotated, and which `serve` annotates each night."),
    ] = None
    all_tasks: Annotated[
        bool,
        Field(description="Instead of a project: all tasks that the user may see."),
    ] = False


class _Setup(ScopeOptions):
    runs_per_server: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="Maximum number of runs on the CVAT server at a time; initially 4."),
    ] = None
    work_pool: Annotated[
        str, OnCommandLine(metavar="NAME"), Field(description="Name of the work pool (of type process).")
    ] = "cvat"
    no_work_pool: Annotated[bool, Field(description="Create no work pool; `serve` needs none.")] = False
    webhook: Annotated[
        str | None,
        OnCommandLine(metavar="URL"),
        Field(description="Register a webhook in CVAT; URL is where CVAT reaches `prefect-cvat webhooks`."),
    ] = None


@command
def setup(options: _Setup) -> None:
    """Create what runs need on the Prefect server: blocks, limits, a work pool, automations.

    It can be run again: existing objects are kept or updated, and of the automations for new tasks only that
    of the given project. A given login is stored in the block; Prefect encrypts its secrets. Store the login
    to another server in another block with --credentials.

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
    """The login of the options before the subcommand, or None.

    Of the environment and of the profile `default` nothing is stored unless the command line names a server.
    """
    from prefect_cvat.credentials import CvatCredentials

    if not is_given("server_host", "auth", "access_token", "profile"):
        return None
    login = given_server().login()
    return None if login is None else CvatCredentials(**dict(login))
