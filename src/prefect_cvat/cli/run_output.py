"""Executes a run in this process: its progress, its report, and notes on errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from prefect_cvat.cli.console import print_lines, stderr
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.exceptions import IncompleteRunError, PrefectCvatError, StorageError
from prefect_cvat.files.output_file import write_text
from prefect_cvat.runs.dry_run import dry_run
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.progress_bar import LoggedProgress, Progress, TqdmProgress
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.reports.dry_run_report import DryRun
from prefect_cvat.runs.reports.failed_run import describe_remaining, undo_command
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.termination import Terminated

__all__ = ["execute", "execute_run", "progress_bar", "report_lines", "write_page"]


def execute(run: Run, parameters: Mapping[str, str], output: RunReportOptions) -> None:
    """Execute a run, or its dry run, in this process; show its progress; print and write its report and page.

    Args:
        run: The run.
        parameters: The parameters of its function, as `type:value` by name.
        output: Where its report goes, and whether it is a dry run.

    Raises:
        IncompleteRunError: Annotations are missing or duplicated on the server; the report has been printed.
        KeyboardInterrupt: It was interrupted; notes say what is on the server, and how to continue.
        PrefectCvatError: The run failed; notes say what it has written to the server, if anything.
    """
    try:
        report = execute_run(run, parameters, is_dry=output.dry_run)
    except IncompleteRunError as error:
        _print_report(error.report, output.report, output.as_json)
        write_page(run, error.report, output)
        raise
    _print_report(report, output.report, output.as_json)
    write_page(run, report, output)


def execute_run(run: Run, parameters: Mapping[str, str], *, is_dry: bool) -> RunReport | DryRun:
    """Execute a run, or its dry run, in this process, and show its progress.

    Raises:
        IncompleteRunError: Annotations are missing or duplicated on the server.
        KeyboardInterrupt: It was interrupted; notes say what is on the server, and how to continue.
        PrefectCvatError: The run failed; notes say what it has written to the server, if anything.
    """
    run.set_metadata(function_parameters=dict(parameters))
    if is_dry:
        return dry_run(run)
    try:
        with ThreadSubmitter() as threads, progress_bar("Annotating") as progress:
            return run_pipeline(run, threads, progress)
    except IncompleteRunError:
        raise
    except BaseException as error:
        _note_remaining(run, error)
        raise


def write_page(
    run: Run, report: RunReport | DryRun, output: RunReportOptions, *, is_numbered: bool = False
) -> None:
    """Write the page of a run, if the options ask for one.

    Args:
        run: The run, which has ended.
        report: Its report.
        output: The options.
        is_numbered: Whether the name of the file gets the number of the task: `page-12.html`.

    Raises:
        PrefectCvatError: It cannot be made; a note says that the run itself is done.
    """
    if output.page is None or run.planned is None or not isinstance(report, RunReport):
        return
    file = (output.page_of(report.task_id) if is_numbered else None) or output.page
    from prefect_cvat.rendering.run_page import write_run_page

    try:
        write_run_page(
            run.client,
            run.planned.plan,
            report,
            run.planned.rank_frames(output.page_frames),
            file,
            max_frames=output.page_frames,
            quality=run.options.quality,
        )
    except (PrefectCvatError, ValueError, OSError) as error:
        error.add_note(f"the run on task {report.task_id} is done; only its page {str(file)!r} failed")
        raise
    stderr.print(f"drawn in {file}", markup=False)


def report_lines(report: RunReport | DryRun) -> list[str]:
    """The lines of a report, and how to undo the run."""
    undo = undo_command(report) if isinstance(report, RunReport) else None
    return [*report.lines(), *([] if undo is None else [undo])]


def _print_report(report: RunReport | DryRun, file: Path | None, as_json: bool) -> None:
    """Print a report as lines or as JSON, and write it to the file of the options, if any.

    Raises:
        StorageError: One of the two could not be written; a note says how to undo the run.
        BrokenPipeError: Standard output is closed; a note says how to undo the run.
    """
    try:
        print_lines(report_lines(report), report, as_json)
    except (StorageError, BrokenPipeError) as error:
        if isinstance(report, RunReport) and (undo := undo_command(report)) is not None:
            error.add_note(undo)
        raise
    finally:
        if file is not None:
            write_text(file, report.model_dump_json(indent=2))


def _note_remaining(run: Run, error: BaseException) -> None:
    """Add to an error what its run has written; to Ctrl-C and SIGTERM also if that is nothing."""
    report = run.finish_report(0.0)
    undo = undo_command(report)
    if undo is not None or isinstance(error, KeyboardInterrupt | Terminated):
        error.add_note(describe_remaining(report))
    if undo is not None:
        error.add_note(undo)


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A progress bar on a terminal; otherwise a line after each tenth of the frames."""
    if not sys.stderr.isatty():
        yield LoggedProgress(lambda line: stderr.print(line, markup=False))
        return
    with tqdm(desc=title, unit=" frames", file=sys.stderr) as bar, logging_redirect_tqdm():
        yield TqdmProgress(bar)
