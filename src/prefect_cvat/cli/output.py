"""What the subcommands print, and how they show that they are at work."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from prefect_cvat.exceptions import IncompleteRunError, StorageError
from prefect_cvat.files.output_file import write_text
from prefect_cvat.messages.bounded_text import bounded
from prefect_cvat.runs.dry_run import dry_run
from prefect_cvat.runs.left_behind import undo_command, what_is_left
from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.progress import LoggedProgress, Progress, TqdmProgress
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.run import Run
from prefect_cvat.termination import Terminated

__all__ = [
    "carry_out",
    "escape_what_cannot_be_shown",
    "keep_stdout_for_json",
    "open_what_is_closed",
    "print_dry_run",
    "print_lines",
    "print_report",
    "progress_bar",
    "spec_lines",
    "stderr",
    "stdout",
]


class _Stdout(Console):
    """Standard output; that it cannot be written is an error of this package's tree."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console` does.

        Raises:
            StorageError: The output takes nothing: the disk is full, or a function has closed it.
        """
        with _is_written():
            super().print(*objects, **options)
            self.file.flush()

    def write_line(self, text: str) -> None:
        """Write a line as it is. Raises as `print` does."""
        with _is_written():
            self.file.write(text + "\n")
            self.file.flush()


@contextmanager
def _is_written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # who reads has seen enough; Typer ends the command
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stdout.file.fileno())  # else what is left would be written at the exit
        raise StorageError(f"standard output cannot be written: {reason}") from error


stdout = _Stdout(soft_wrap=True, highlight=False)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)


def carry_out(run: Run, parameters: Sequence[str] | None, *, report_file: Path | None, as_json: bool) -> None:
    """Carry out a run in this process, show its progress, and print its report.

    Args:
        run: The run.
        parameters: What its function was made with, as `name=type:value`.
        report_file: Where the report is written.
        as_json: Whether it is printed as JSON.

    Raises:
        IncompleteRunError: Not all is on the server as it should be; the report has been printed.
        KeyboardInterrupt: Somebody has interrupted it; notes say what is on the server, and how to go on.
        PrefectCvatError: The run failed; notes say what it has left on the server, if anything.
    """
    run.set_metadata(function_parameters=dict(text.split("=", 1) for text in parameters or ()))
    try:
        with ThreadSubmitter() as threads, progress_bar("Annotating") as progress:
            report = run_pipeline(run, threads, progress)
    except IncompleteRunError as error:
        print_report(error.report, report_file, as_json)
        raise
    except BaseException as error:
        _note_what_is_there(run, error)
        raise
    print_report(report, report_file, as_json)


def print_dry_run(run: Run, as_json: bool) -> None:
    """Print what a run would do; nothing is uploaded."""
    would = dry_run(run)
    print_lines(would.lines(), would, as_json)


def print_report(report: RunReport, file: Path | None, as_json: bool) -> None:
    """Print a report as lines or as JSON, and write it to a file if there is to be one.

    Raises:
        StorageError: One of them cannot be written, the other one has been; a note says how to undo the run.
    """
    lines = report.lines()
    if (undo := undo_command(report)) is not None:
        lines.append(undo)
    try:
        print_lines(lines, report, as_json)
    except StorageError as error:
        if undo is not None:
            error.add_note(undo)
        raise
    finally:
        if file is not None:
            write_text(file, report.model_dump_json(indent=2))


def print_lines(lines: Iterable[str], report: BaseModel, as_json: bool) -> None:
    """Print the lines of a report, or all of it as JSON."""
    if as_json:
        stdout.write_line(report.model_dump_json(indent=2))
    else:
        for line in lines:
            stdout.print(bounded(line), markup=False)


def keep_stdout_for_json(context: typer.Context, is_wanted: bool) -> bool:
    """For `--json`: until the command ends, what a function or a library prints goes to stderr."""
    if is_wanted:
        context.with_resource(_stdout_apart())
    return is_wanted


@contextmanager
def _stdout_apart() -> Iterator[None]:
    sys.stdout.flush()
    # a stream of its own, since a function may close what it takes for stdout
    apart = os.fdopen(os.dup(2), "w", 1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    real = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    with apart, real:
        os.dup2(2, 1)  # also for output that does not go through sys.stdout
        try:
            with redirect_stdout(apart):
                stdout.file = real
                yield
        finally:
            os.dup2(real.fileno(), 1)
            stdout.file = sys.stdout


def open_what_is_closed() -> None:
    """Have stdin, stdout and stderr, of which a process may be started without any.

    Else the next files that are opened, such as a lock, would take their places, and get what is printed.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def escape_what_cannot_be_shown() -> None:
    """Have characters that the terminal's encoding lacks printed as escapes of JSON."""
    codecs.register_error("json_escapes", _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json_escapes")


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _note_what_is_there(run: Run, error: BaseException) -> None:
    """Add to an error what its run has left on the server; to Ctrl-C and SIGTERM also that it is nothing."""
    report = run.finish_report(0.0)
    undo = undo_command(report)
    if undo is not None or isinstance(error, KeyboardInterrupt | Terminated):
        error.add_note(what_is_left(report))
    if undo is not None:
        error.add_note(undo)


def spec_lines(spec: Any) -> list[str]:
    """What a function can do: labels, shapes that it follows, or what prompts it."""
    if hasattr(spec, "supported_shape_types"):
        return [f"follows shapes of type {', '.join(sorted(spec.supported_shape_types))}"]
    if hasattr(spec, "min_pos_points"):
        box = {None: "not taken", 0: "taken", 1: "needed"}[spec.min_bounding_boxes]
        return [
            f"points on the object: {_at_least(spec.min_pos_points)}",
            f"points that are not on it: {_at_least(spec.min_neg_points)}",
            f"box around it: {box}",
        ]
    lines = []
    for label in spec.labels:
        lines.append(f"{label.id:>4}  {label.name}  ({label.type})")
        lines += [f"      {sublabel.id:>4}  {sublabel.name}" for sublabel in label.sublabels]
    return lines


def _at_least(number: int | None) -> str:
    if number is None:
        return "not taken"
    return f"{number} or more needed" if number else "taken"


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on a terminal, which says what is being done; elsewhere a line when another tenth is done."""
    if not sys.stderr.isatty():
        yield LoggedProgress(lambda line: stderr.print(line, markup=False))
        return
    with tqdm(desc=what, unit=" frames", file=sys.stderr) as bar, logging_redirect_tqdm():
        yield TqdmProgress(bar)
