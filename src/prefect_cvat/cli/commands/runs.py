"""The command `runs`: lists recorded runs, shows and undoes one, and deletes old records."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import click
from pydantic import Field, RootModel

from prefect_cvat.cli.command import command, command_group
from prefect_cvat.cli.commands.undo import undo
from prefect_cvat.cli.console import print_lines, stdout
from prefect_cvat.cli.report_options import DryRunOptions, JsonOption
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.options.option_base import OnCommandLine
from prefect_cvat.records.run_list import ListedRun, list_runs, prune_runs

__all__ = ["runs"]

_AGE = re.compile(r"(\d+)([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class _Listed(JsonOption):
    task: Annotated[
        Annotated[int, Field(ge=1)] | None,
        OnCommandLine(metavar="TASK_ID"),
        Field(description="Only the runs on this task."),
    ] = None


@command
def list_recorded_runs(output: _Listed) -> None:
    """List the runs recorded on this machine, newest first.

    Each line has id, start time, kind, function, task, number of added annotations, and whether the run is
    running, was interrupted, or has ended.

    \b
    Example:
      prefect-cvat runs --task 123
      prefect-cvat runs show 3f2a9c1d
      prefect-cvat --server-host cvat.example.com --auth alice runs undo 3f2a9c1d
      prefect-cvat runs prune --older-than 90d
    """  # noqa: D301 (\b keeps click from joining the lines)
    if click.get_current_context().invoked_subcommand is None:
        listed = list_runs(output.task)
        print_lines([run.line() for run in listed], RootModel[list[ListedRun]](listed), output.as_json)


@command
def show(run: Annotated[str, click.Argument(["run"])], output: JsonOption) -> None:
    """Show what a recorded run has done: its function and settings, its report, and how to undo it.

    RUN is the id of the run (at least eight characters) or its report. A run that was killed has no report.

    \b
    Example:
      prefect-cvat runs show 3f2a9c1d
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.cli.recorded_run import read_recorded_run

    shown = read_recorded_run(run)
    print_lines(shown.lines(), shown, output.as_json)


class _Prune(DryRunOptions):
    older_than: Annotated[
        str,
        OnCommandLine(metavar="AGE"),
        Field(description="The minimum age of what is deleted: 12h, 90d, 8w."),
    ]


@command
def prune(options: _Prune) -> None:
    """Delete records of old runs, unused lock files, and files of killed runs.

    A run without a record cannot be undone. If PREFECT_API_URL is set, limits of killed runs are also deleted
    from the Prefect server.

    \b
    Example:
      prefect-cvat runs prune --older-than 90d
    """  # noqa: D301 (\b keeps click from joining the lines)
    done = prune_runs(_read_age(options.older_than), dry_run=options.dry_run)
    print_lines(done.lines(), done, options.as_json)
    if not options.dry_run:
        _remove_left_limits(options.as_json)


runs = command_group("runs", list_recorded_runs, show=show, undo=undo, prune=prune)


def _remove_left_limits(as_json: bool) -> None:
    """Delete limits of killed runs, if a Prefect server is set: Prefect would start one otherwise."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return
    from prefect_cvat.deployments.prefect_server import prefect_server
    from prefect_cvat.tasks.wait_for_task import remove_unused_limits

    with prefect_server():
        removed = remove_unused_limits()
    if removed and not as_json:
        stdout.print(f"{pluralize(removed, 'limit')} of killed runs removed from the Prefect server")


def _read_age(text: str) -> timedelta:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no age; write it as 12h, 90d or 8w", param_hint="--older-than")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
