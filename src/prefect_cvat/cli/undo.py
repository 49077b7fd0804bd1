"""The subcommand `undo`."""

from __future__ import annotations

from typing import Annotated

import typer

from prefect_cvat.cli.output import keep_stdout_for_json, print_lines, stdout
from prefect_cvat.records.record_reader import recorded_runs
from prefect_cvat.upload.undo import undo_run

__all__ = ["undo"]

MOST_LISTED = 20


def undo(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Id of the run, eight characters of it or more, or its report."),
    ] = None,
    list_runs: Annotated[
        bool, typer.Option("--list", help="List the runs that were recorded last, and do nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", callback=keep_stdout_for_json, help="Print what was done as JSON.")
    ] = False,
) -> None:
    """Remove what a run has added, but for what somebody has changed since.

    What the run had removed itself (with --existing clear, say) is not brought back. Where runs are recorded
    says PREFECT_CVAT_RUNS_DIR.

    \b
    Example:
      prefect-cvat undo --list
      prefect-cvat --server-host cvat.example.com --auth alice undo 3f2a9c1d
    """  # noqa: D301 (\b keeps click from joining the lines)
    if (run is None) is not list_runs:
        raise typer.BadParameter("give a run, or --list")
    if run is None:
        for header in recorded_runs()[:MOST_LISTED]:
            stdout.print(
                f"{header.run}  {header.started:%Y-%m-%d %H:%M} UTC  {header.provenance.function}"
                f"  {header.server}/tasks/{header.task_id}",
                markup=False,
            )
        return
    with context.obj.connect() as client:
        done = undo_run(client, run, dry_run=dry_run)
    print_lines(done.lines(), done, as_json)
