"""The command line: its commands, the options before them, and its errors."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

import click

from prefect_cvat.cli.debug import debug_option, shows_tracebacks
from prefect_cvat.cli.server import Server
from prefect_cvat.cli.streams import escape_unprintable, reopen_closed_streams
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.messages.bounded_text import shorten
from prefect_cvat.termination import Terminated, exit_cleanly_on_sigterm

__all__ = ["COMMANDS", "app", "run"]

COMMANDS = {
    "annotate": "Annotate tasks: those with the given ids, or those of a project that are selected.",
    "tasks": "List tasks, and show what a run on them would do.",
    "track": "Create tracks from the detections of a function, or from shapes that somebody has drawn.",
    "refine": "Turn rectangles and points of a task into masks or polygons.",
    "undo": "Delete what a run has added, except what somebody has changed since.",
    "evaluate": "Evaluate a function, or the automatic annotations of a task, on manual annotations.",
    "prompts": "Try wordings for the labels of a task, and choose the best by evaluation.",
    "saved": "Estimate the time that runs have saved the people who correct a task, or a project.",
    "learn": "Learn from what people have corrected in a task, for later runs in its project.",
    "export": "Export detections of a function, or the annotations of a task, as a dataset.",
    "preview": "Run a function on images and draw its detections.",
    "runs": "List the runs recorded on this machine, newest first.",
    "functions": "List the built-in functions, and the extras that they need.",
    "cache": "Show or clear cached detections and converted models.",
    "setup": "Create what runs need on the Prefect server: blocks, limits, a work pool, automations.",
    "serve": "Create the deployments, and execute their runs on this machine until interrupted.",
    "webhooks": "Receive webhooks of CVAT, and send them to Prefect as events, which start runs.",
    "gateway": "Serve functions to CVAT's own pages, without Nuclio.",
    "sandbox": "Run a local server with a part of CVAT's API, to try prefect-cvat without CVAT.",
    "demo": "Annotate photographs and a video in a sandbox with NanoDet, through the Prefect flows.",
}
"""The help text of each command. Its module, of the same name, is imported when it runs."""


class _Commands(click.Group):
    """The commands. By default click exits on Ctrl-C with code 1 and no message."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command; its module is imported."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"prefect_cvat.cli.commands.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with; `cvat-cli` calls `annotate` `task auto-annotate`."""
        if args[:2] == ["task", "auto-annotate"]:
            args = ["annotate", *args[2:]]
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries of the commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if it is interrupted, say how to continue."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            of_app = {name for parameter in self.params for name in parameter.opts}
            if error.option_name in of_app and error.ctx is not None and error.ctx.command is not self:
                raise click.UsageError(
                    f"{error.option_name} comes before the command: prefect-cvat {error.option_name} ..."
                    f" {error.ctx.info_name} ...",
                    error.ctx,
                ) from None
            raise
        except click.UsageError as error:
            raise click.UsageError(shorten(error.format_message()), error.ctx) from None
        except KeyboardInterrupt as interruption:
            _print_error("interrupted; run it again to complete it", interruption)
            raise click.exceptions.Exit(130) from None
        except (Terminated, BrokenPipeError) as end:  # the signal handler has printed the message
            _print_notes(end)
            raise


def _print_version(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"prefect-cvat {version('prefect-cvat')}")
        context.exit()


@click.group(cls=_Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--server-host",
    envvar="CVAT_SERVER_HOST",
    show_envvar=True,
    help="Address of the CVAT server; by default localhost.",
)
@click.option(
    "--server-port",
    type=int,
    envvar="CVAT_SERVER_PORT",
    show_envvar=True,
    help="Port, if it is not in the address; 443 or 80 by default.",
)
@click.option(
    "--auth",
    metavar="USER[:PASS]",
    envvar="CVAT_AUTH",
    show_envvar=True,
    help="User and password. Without a password, PASS or the keyring is used, or you are asked.",
)
@click.option("--access-token", envvar="CVAT_ACCESS_TOKEN", show_envvar=True, help="A personal access token.")
@click.option(
    "--organization",
    "--org",
    metavar="SLUG",
    envvar="CVAT_ORGANIZATION",
    show_envvar=True,
    help="Organization to work in.",
)
@click.option(
    "--profile",
    metavar="NAME",
    envvar="CVAT_PROFILE",
    show_envvar=True,
    help="Server and login of this name in profiles.toml; by default the one named default, if there is one.",
)
@click.option(
    "--ca-bundle",
    metavar="FILE",
    envvar="CVAT_CA_BUNDLE",
    show_envvar=True,
    help="File of CA certificates to verify the server with.",
)
@click.option("--insecure", is_flag=True, help="Do not verify TLS certificates.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def app(
    context: click.Context,
    server_host: str | None,
    server_port: int | None,
    auth: str | None,
    access_token: str | None,
    organization: str | None,
    profile: str | None,
    ca_bundle: str | None,
    insecure: bool,
) -> None:
    """Auto-annotation of CVAT tasks with machine-learning models."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s: %(message)s"
    )
    context.obj = Server(
        server_host, server_port, auth, access_token, organization, insecure, ca_bundle, profile
    )


app.params.append(debug_option())


def run() -> None:
    """Run the command line; see `main`."""
    reopen_closed_streams()
    escape_unprintable()
    exit_cleanly_on_sigterm()
    try:
        app(prog_name="prefect-cvat")
    except PrefectCvatError as error:
        _fail(error, 1)
    except ValueError as error:
        _fail(error, 2)


def _fail(error: Exception, code: int) -> None:
    if shows_tracebacks():
        raise error
    _print_error(f"error: {shorten(str(error))}", error)
    sys.exit(code)


def _print_error(message: str, error: BaseException) -> None:
    """Say how a command ended, and what is noted about that."""
    click.secho(message, fg="red", err=True)
    _print_notes(error)


def _print_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        click.echo(shorten(note), err=True)
