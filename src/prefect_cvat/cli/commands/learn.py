"""The command `learn`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from prefect_cvat.cli.command import TaskId, Without, command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines
from prefect_cvat.cli.report_options import DryRunOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.export_options import ExportOptions
from prefect_cvat.options.learn_options import LearnOptions
from prefect_cvat.options.option_base import OnCommandLine

__all__ = ["learn"]


class _Export(ExportOptions):
    to: Annotated[
        Path | None,
        OnCommandLine(metavar="FOLDER"),
        Field(
            description=(
                "Export the corrected frames to this folder, which is new or empty, with a card that says"
                " where the annotations come from."
            )
        ),
    ] = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.to is None and self.changed(to=Path()) != type(self)(to=Path()):
            raise ValueError("--format and --no-images go with --to")
        return self


@command
def learn(
    task_id: TaskId,
    options: LearnOptions,
    exported: Annotated[_Export, Without("left_by_runs")],
    output: DryRunOptions,
) -> None:
    """Learn from what people have corrected in a task, for later runs in its project.

    How probable it is that a shape is right, thresholds and a label map are kept in PREFECT_CVAT_LEARNED_DIR;
    `annotate --learned` uses them. Nothing is written to the server.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice learn 123
      prefect-cvat --server-host cvat.example.com --auth alice \\
        learn 123 --looked-at 0-49 --to corrected --format yolo
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    from prefect_cvat.cli.run_output import progress_bar
    from prefect_cvat.learning import learn_task

    with given_server().connect() as client, progress_bar("Exporting") as progress:
        done = learn_task(
            client,
            task_id,
            looked_at=options.looked_at or (),
            folder=exported.to,
            format=exported.format,
            images=exported.images,
            dry_run=output.dry_run,
            progress=progress,
        )
    print_lines(done.lines(), done, output.as_json)
