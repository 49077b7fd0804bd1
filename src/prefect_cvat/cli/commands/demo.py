"""The command `demo`."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from prefect_cvat.cli.command import command
from prefect_cvat.cli.console import stdout
from prefect_cvat.cli.report_options import PageFile
from prefect_cvat.options.option_base import OptionModel

if TYPE_CHECKING:
    from rich.table import Table

    from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["demo"]


class _Demo(OptionModel):
    page: PageFile = Path("demo-report.html")
    serve: Annotated[
        bool,
        Field(description="Keep the sandbox running until Ctrl-C, with functions on its pages (AI tools)."),
    ] = False


@command
def demo(output: _Demo) -> None:
    """Annotate photographs and a video in a sandbox with NanoDet, through the Prefect flows, and draw them.

    \b
    Example:
      prefect-cvat demo --page demo.html
      prefect-cvat demo --serve
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.cli.demo_run import run_demo

    page = output.page or Path("demo-report.html")

    def echo(line: str) -> None:
        stdout.print(line, markup=False)

    with run_demo(page, echo, with_functions=output.serve) as (photographs, clip, address):
        for report in (photographs, clip):
            stdout.print(_table(report))
        echo(f"drawn in {page.resolve()}")
        if output.serve:
            echo(f"try the AI tools at {address} (Ctrl-C ends)")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


def _table(report: RunReport) -> Table:
    from rich.table import Table

    from prefect_cvat.messages.plurals import pluralize

    table = Table(title=f"task {report.task_id}: {pluralize(report.frames, 'frame')}")
    table.add_column("label")
    table.add_column("found", justify="right")
    for name, count in sorted(report.labels.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(name, str(count))
    table.add_section()
    table.add_row("all labels", str(sum(report.labels.values())))
    if report.tracks:
        table.add_row("tracks", str(sum(report.tracks.values())))
        table.add_row("keyframes", str(report.keyframes))
    table.add_row("frames", str(report.frames))
    table.add_row("seconds", f"{report.seconds:.1f}")
    table.add_row("frames per second", f"{report.frames_per_second:.1f}")
    return table
