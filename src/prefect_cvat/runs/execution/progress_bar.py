"""Shows the progress of a run: on a tqdm bar, to a progress reporter of the CVAT SDK, or as log lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

from prefect_cvat.messages.plurals import pluralize

__all__ = ["LoggedProgress", "Progress", "ReporterProgress", "TqdmProgress", "progress_on"]


class Progress(Protocol):
    """Shows how many frames of a run are done."""

    def start(self, total: int) -> None:
        """The run starts, with `total` frames."""
        ...

    def advance(self, frames: int) -> None:
        """A number of further frames is uploaded."""
        ...

    def finish(self) -> None:
        """The run has ended, whether or not it failed."""
        ...


def progress_on(pbar: Any) -> Progress:
    """Make a `Progress` from a tqdm bar or a progress reporter of the CVAT SDK."""
    if hasattr(pbar, "task") and hasattr(pbar, "iter"):
        return ReporterProgress(pbar)
    return TqdmProgress(pbar)


class TqdmProgress:
    """Shows progress on a tqdm bar, or an object with its `total` and `update`."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def start(self, total: int) -> None:
        """Set the bar to zero."""
        if hasattr(self._bar, "reset"):
            self._bar.reset(total=total)
        else:
            self._bar.total = total

    def advance(self, frames: int) -> None:
        """Move the bar."""
        self._bar.update(frames)

    def finish(self) -> None:
        """Redraw the bar; the caller closes it."""
        if hasattr(self._bar, "refresh"):
            self._bar.refresh()


class ReporterProgress:
    """Shows progress on a progress reporter of the CVAT SDK, with `task()` and `advance()`."""

    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter
        self._context = ExitStack()

    def start(self, total: int) -> None:
        """Enter the reporter's task."""
        task: AbstractContextManager[Any] = self._reporter.task(total=total, unit="frames")
        self._context.enter_context(task)

    def advance(self, frames: int) -> None:
        """Advance the reporter."""
        self._reporter.advance(frames)

    def finish(self) -> None:
        """Leave the reporter's task."""
        self._context.close()


class LoggedProgress:
    """Logs a line for each tenth of the frames."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._total = 0
        self._done = 0

    def start(self, total: int) -> None:
        """Log the number of frames."""
        self._total = total
        self._log(f"{pluralize(total, 'frame')} to process")

    def advance(self, frames: int) -> None:
        """Log the number of frames done, if another tenth is done."""
        before, self._done = self._done, self._done + frames
        if self._done * 10 // self._total > before * 10 // self._total:
            self._log(f"{self._done} of {pluralize(self._total, 'frame is', 'frames are')} done")

    def finish(self) -> None:
        """Log nothing; the report follows."""
