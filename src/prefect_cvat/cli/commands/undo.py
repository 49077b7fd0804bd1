"""The command `undo`."""

from __future__ import annotations

from typing import Annotated

import click
from pydantic import Field

from prefect_cvat.cli.command import command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines, stdout
from prefect_cvat.cli.report_options import DryRunOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.option_base import OnCommandLine

__all__ = ["undo"]

MAX_LISTED = 20


class _Undo(DryRunOptions):
    list_runs: Annotated[
        bool,
        OnCommandLine("--list"),
        Field(description="List the last recorded runs, and delete nothing."),
    ] = False


@command
def undo(
    run: Annotated[str | None, click.Argument(["run"], required=False)],
    options: _Undo,
) -> None:
    """Delete what a run has added, except what somebody has changed since.

    RUN is the id of the run (at least eight characters) or its report. Annotations that the run has deleted,
    such as with --existing clear, are not restored. Runs are recorded in PREFECT_CVAT_RUNS_DIR.

    \b
    Example:
      prefect-cvat undo --list
      prefect-cvat --server-host cvat.example.com --auth alice undo 3f2a9c1d
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(options.as_json)
    if (run is None) is not options.list_runs:
        raise click.BadParameter("give a run, or --list")
    if run is None:
        _list_runs()
        return
    from prefect_cvat.upload.undo_annotations import undo_run

    with given_server().connect() as client:
        done = undo_run(client, run, dry_run=options.dry_run)
    print_lines(done.lines(), done, options.as_json)


def _list_runs() -> None:
    from prefect_cvat.records.record_reader import recorded_runs

    for header in recorded_runs()[:MAX_LISTED]:
        stdout.print(
            f"{header.run}  {header.started:%Y-%m-%d %H:%M} UTC  {header.provenance.function}"
            f"  {header.server}/tasks/{header.task_id}",
            markup=False,
        )
