"""Telling how far a run is: on a tqdm bar, to a progress reporter of the CVAT SDK, as lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

from prefect_cvat.messages.plurals import pluralize

__all__ = ["LoggedProgress", "Progress", "ReporterProgress", "TqdmProgress", "progress_on"]


class Progress(Protocol):
    """What is told how many frames are done."""

    def start(self, total: int) -> None:
        """The run begins; it has so many frames."""
        ...

    def advance(self, frames: int) -> None:
        """So many more frames are on the server."""
        ...

    def finish(self) -> None:
        """The run is over."""
        ...


def progress_on(pbar: Any) -> Progress:
    """Adapt what a caller shows progress with: a tqdm bar, or a progress reporter of the CVAT SDK."""
    if hasattr(pbar, "task") and hasattr(pbar, "iter"):
        return ReporterProgress(pbar)
    return TqdmProgress(pbar)


class TqdmProgress:
    """On a tqdm bar, or anything with its `total` and `update`."""

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
        """Draw the bar a last time; closing it is left to the one who made it."""
        if hasattr(self._bar, "refresh"):
            self._bar.refresh()


class ReporterProgress:
    """To a progress reporter of the CVAT SDK: `task()` is a context, `advance()` moves it."""

    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter
        self._context = ExitStack()

    def start(self, total: int) -> None:
        """Enter the reporter's task."""
        task: AbstractContextManager[Any] = self._reporter.task(total=total, unit="frames")
        self._context.enter_context(task)

    def advance(self, frames: int) -> None:
        """Tell the reporter."""
        self._reporter.advance(frames)

    def finish(self) -> None:
        """Leave the reporter's task."""
        self._context.close()


class LoggedProgress:
    """As a line each time another tenth is done."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._total = 0
        self._done = 0

    def start(self, total: int) -> None:
        """Say how many frames there are."""
        self._total = total
        self._log(f"{pluralize(total, 'frame')} to go through")

    def advance(self, frames: int) -> None:
        """Say how many frames are done, if that is another tenth."""
        before, self._done = self._done, self._done + frames
        if self._done * 10 // self._total > before * 10 // self._total:
            self._log(f"{self._done} of {pluralize(self._total, 'frame is', 'frames are')} done")

    def finish(self) -> None:
        """Say nothing: the report follows."""
