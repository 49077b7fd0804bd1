"""Executes runs on several tasks, one after the other: a failed one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

from prefect_cvat.cli.console import print_lines, stdout
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.cli.run_output import execute_run, report_lines, write_page
from prefect_cvat.cli.task_choice import ChosenTask
from prefect_cvat.exceptions import (
    AuthenticationError,
    DeviceError,
    IncompleteRunError,
    PrefectCvatError,
    ReadOnlyTokenError,
    RunsFailedError,
    StorageError,
    UnreachableError,
)
from prefect_cvat.files.output_file import write_text
from prefect_cvat.messages.bounded_text import one_line, shorten
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.reports.dry_run_report import DryRun
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["SeveralReports", "execute_several"]

_FATAL = (AuthenticationError, DeviceError, ReadOnlyTokenError, StorageError, UnreachableError)
"""Errors after which runs on further tasks would fail, too."""


class SeveralReports(BaseModel):
    """The reports of runs on several tasks.

    Attributes:
        reports: The reports, or dry runs, in order; also of runs that ended incomplete.
        failed: The errors of failed runs, by task.
        left_out: Messages about selected tasks that cannot be annotated.
    """

    model_config = ConfigDict(extra="forbid")

    reports: list[SerializeAsAny[RunReport | DryRun]] = Field(default_factory=list)
    failed: dict[int, str] = Field(default_factory=dict)
    left_out: list[str] = Field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary as lines for a terminal."""
        done = sum(report.task_id not in self.failed for report in self.reports)
        return [
            *(f"left out: {reason}" for reason in self.left_out),
            f"{pluralize(done + len(self.failed), 'task')}: {done} done, {len(self.failed)} failed"
            f"{f', {len(self.left_out)} left out' if self.left_out else ''}",
        ]


def execute_several(
    tasks: Callable[[Callable[[str], object]], Iterator[ChosenTask]],
    new_run: Callable[[ChosenTask], Run],
    parameters: Mapping[str, str],
    output: RunReportOptions,
) -> None:
    """Execute a run, or its dry run, on each of several tasks in this process; print and write the reports.

    Args:
        tasks: Returns the tasks; called with a function for messages about tasks that are left out.
        new_run: Makes the run on a task.
        parameters: The parameters of the function, as `type:value` by name.
        output: Where the reports go, and whether these are dry runs.

    Raises:
        RunsFailedError: Runs have failed; their errors have been printed.
        PrefectCvatError: Further runs would fail, too.
        KeyboardInterrupt: A run was interrupted; notes say what is on the server, and how to continue.
    """
    done = SeveralReports()
    with _written(done, output):
        for task in tasks(done.left_out.append):
            if not output.as_json:
                stdout.print(f"task {task.id}:", markup=False)
            try:
                _check_page(task, output)
            except StorageError as error:
                done.failed[task.id] = one_line(str(error))
                _print_error(task, error)
                continue
            try:
                run = new_run(task)
                report = execute_run(run, parameters, is_dry=output.dry_run)
            except _FATAL as error:
                done.failed[task.id] = one_line(str(error))
                raise
            except IncompleteRunError as error:
                done.reports.append(error.report)
                done.failed[task.id] = one_line(str(error))
                _print_error(task, error)
                report = error.report
            except (PrefectCvatError, ValueError) as error:
                done.failed[task.id] = one_line(str(error))
                _print_error(task, error)
                continue
            else:
                done.reports.append(report)
            if not output.as_json:
                print_lines(report_lines(report), report, as_json=False)
            try:
                write_page(run, report, output, is_numbered=True)
            except (PrefectCvatError, ValueError, OSError) as error:
                done.failed[task.id] = one_line(str(error))
                _print_error(task, error)
    if done.failed:
        failed = ", ".join(map(str, done.failed))
        raise RunsFailedError(
            f"{pluralize(len(done.failed), 'task')} failed: {failed}; run it again to complete it, nothing is"
            " added twice"
        )


def _check_page(task: ChosenTask, output: RunReportOptions) -> None:
    """Check the page of a task before its run: the tasks of a project are not known before."""
    if (page := output.page_of(task.id)) is not None:
        from prefect_cvat.rendering.review_page.image_folder import check_page

        check_page(page, output.page_frames)


@contextmanager
def _written(done: SeveralReports, output: RunReportOptions) -> Iterator[None]:
    """Print and write the reports, also if a run was interrupted."""

    def write() -> None:
        print_lines(done.lines(), done, output.as_json)
        if output.report is not None:
            write_text(output.report, done.model_dump_json(indent=2))

    try:
        yield
    except BaseException as error:
        try:
            write()
        except StorageError as failed:
            error.add_note(str(failed))
        raise
    write()


def _print_error(task: ChosenTask, error: Exception) -> None:
    click.secho(f"error: task {task.id}: {shorten(str(error))}", fg="red", err=True)
    for note in getattr(error, "__notes__", ()):
        click.echo(shorten(note), err=True)
