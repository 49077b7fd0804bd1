"""Standard output and standard error of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console

from prefect_cvat.exceptions import StorageError
from prefect_cvat.messages.bounded_text import shorten

__all__ = [
    "keep_stdout_for_json",
    "print_lines",
    "stderr",
    "stdout",
]


class _Stdout(Console):
    """Standard output; if it cannot be written, a `StorageError` is raised."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console` does.

        Raises:
            StorageError: The disk is full, or a function has closed the stream.
        """
        with _is_written():
            super().print(*objects, **options)
            self.file.flush()

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting as rich does, so that the command can print its last messages."""
        raise

    def write_line(self, text: str) -> None:
        """Write a line as it is. Raises as `print` does."""
        with _is_written():
            self.file.write(text + "\n")
            self.file.flush()


@contextmanager
def _is_written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader has closed the pipe; click ends the command
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(
                nowhere.fileno(), stdout.file.fileno()
            )  # otherwise the buffer would be written at the exit
        raise StorageError(f"standard output cannot be written: {reason}") from error


stdout = _Stdout(soft_wrap=True, highlight=False)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)


def print_lines(lines: Iterable[str], report: BaseModel, as_json: bool) -> None:
    """Print the lines of a report, or all of it as JSON."""
    if as_json:
        stdout.write_line(report.model_dump_json(indent=2))
    else:
        for line in lines:
            stdout.print(shorten(line), markup=False)


def keep_stdout_for_json(is_wanted: bool) -> None:
    """For `--json`: redirect what functions or libraries print to stderr, until the command ends."""
    if is_wanted:
        click.get_current_context().with_resource(_stdout_apart())


@contextmanager
def _stdout_apart() -> Iterator[None]:
    sys.stdout.flush()
    # a separate stream, since a function may close sys.stdout
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
