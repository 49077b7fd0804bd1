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
    """Standard output; that it cannot be written is an error of this package's tree."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console` does.

        Raises:
            StorageError: The output takes nothing: the disk is full, or a function has closed it.
        """
        with _is_written():
            super().print(*objects, **options)
            self.file.flush()

    def on_broken_pipe(self) -> None:
        """Let the command end, which may have something to say; rich would exit here."""
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
    except BrokenPipeError:  # the reader has seen enough; click ends the command
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stdout.file.fileno())  # else what is left would be written at the exit
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
    """For `--json`: until the command ends, what a function or a library prints goes to stderr."""
    if is_wanted:
        click.get_current_context().with_resource(_stdout_apart())


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
