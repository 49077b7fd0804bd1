"""The artifacts of a run in Prefect: a progress bar, a report and pictures, each with a link to CVAT.

A run never fails because of them. When the Prefect server refuses an artifact, or CVAT does not send the
images of a picture, the run logs a warning and continues.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from logging import Logger, LoggerAdapter
from threading import Lock, Timer
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.exceptions import ObjectNotFound

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.messages.bounded_text import describe_error
from prefect_cvat.planning.plan import Plan
from prefect_cvat.rendering.run_report_markdown import Outcome, escape, render_markdown, task_link
from prefect_cvat.rendering.sample_frames import Drawing, draw_sample_frames
from prefect_cvat.rendering.score_plot import plot_scores
from prefect_cvat.runs.execution.progress_bar import LoggedProgress
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks.client_retries import client_retries

__all__ = [
    "ArtifactProgress",
    "data_uri",
    "draw_frames",
    "publish_report",
    "warn_if_not_drawn",
    "warn_if_refused",
]

SECONDS_BETWEEN_UPDATES = 5.0
"""The progress bar is created after this time, and updated at most this often."""

MAX_TIME_SHARE = 0.05
"""The part of a run's time that updates of the progress bar take at most, on a slow Prefect server."""

ARTIFACTS_AT_A_TIME = 3
"""How many artifacts are sent at a time at the end of a run."""

MAX_ERROR_CHARACTERS = 200
"""The logged length of an error of the Prefect server; it may quote the whole request."""

_PREFECT_ERRORS = (httpx.HTTPError, ObjectNotFound)
"""Errors of Prefect's client: a refused request, no answer, or an artifact that somebody has deleted."""


class ArtifactProgress:
    """Shows the progress of a run as a progress artifact of the flow run, and as lines in its log.

    The artifact is created once the run has lasted for five seconds, and updated about every five seconds; of
    a shorter run there is the report. An update that fails is not retried, since the next one replaces it;
    only the last update is sent with Prefect's own retries. After a slow update the next one is delayed, so
    that updates take at most `MAX_TIME_SHARE` of the run's time. The first failure is logged.

    Args:
        report: The report of the run; it names the task once the run has been planned.
        logger: The logger of the flow run.
    """

    def __init__(self, report: RunReport, logger: Logger | LoggerAdapter[Logger]) -> None:
        self._report = report
        self._logger = logger
        self._lines = LoggedProgress(logger.info)
        self._artifact: UUID | None = None
        self._total = 0
        self._done = 0
        self._sent = -1
        self._next_update = 0.0
        self._has_warned = False
        self._lock = Lock()
        self._timer: Timer | None = None

    def start(self, total: int) -> None:
        """Create the artifact after some seconds, unless the run has ended by then."""
        self._lines.start(total)
        self._total = total
        self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
        self._timer = Timer(SECONDS_BETWEEN_UPDATES, copy_context().run, [self._update_if_due])
        self._timer.daemon = True
        self._timer.start()

    def advance(self, frames: int) -> None:
        """Update the artifact, unless it was updated within the last seconds."""
        self._lines.advance(frames)
        self._done += frames
        self._update_if_due()

    def finish(self) -> None:
        """Update the artifact a last time; the bar of a failed run stays where the run has failed."""
        self._lines.finish()
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            is_shown = self._artifact is not None or self._has_warned
            if is_shown and self._sent != self._done:
                self._update()
            self._next_update = math.inf

    def _update_if_due(self) -> None:
        with self._lock:
            if time.monotonic() >= self._next_update:
                with client_retries(0):
                    self._update()

    def _update(self) -> None:
        done = self._done
        percent = round(100 * done / self._total, 1) if self._total else 100.0
        description = (
            f"{task_link(self._report)}, with {escape(self._report.function)}: {done} of {self._total} frames"
        )
        started = time.monotonic()
        try:
            if self._artifact is None:
                key = f"progress-task-{self._report.task_id}"
                self._artifact = cast("UUID", create_progress_artifact(percent, key, description))
            else:
                update_progress_artifact(self._artifact, percent, description)
            self._sent = done
        except _PREFECT_ERRORS as error:
            if not self._has_warned:
                self._logger.warning(
                    "the progress artifact could not be updated: %s; the run continues", _brief(error)
                )
            self._has_warned = True
        now = time.monotonic()
        self._next_update = now + max(SECONDS_BETWEEN_UPDATES, (now - started) / MAX_TIME_SHARE)


def publish_report(
    report: RunReport,
    *,
    outcome: Outcome = "completed",
    error: str | None = None,
    pictures: Sequence[Drawing] = (),
) -> None:
    """Publish the report of a run as artifacts of the current flow run.

    The artifacts of task N are `report-task-N` (Markdown), `scores-task-N` (a histogram of the scores, if
    there are any), and `frame-7-task-N` (frame 7) and so on.

    Args:
        report: The report; of a run that failed, what it had done before.
        outcome: How the run ended.
        error: The error message of a run that failed.
        pictures: Frames with annotations, see `draw_frames`.
    """
    task = f"task-{report.task_id}"
    link = task_link(report)
    with warn_if_refused(), ThreadPoolExecutor(ARTIFACTS_AT_A_TIME) as threads:

        def create(make: Callable[[str, str, str], object], content: str, key: str, description: str) -> None:
            described = f"{link}: {description}"
            created.append(threads.submit(copy_context().run, make, content, f"{key}-{task}", described))

        created: list[Future[object]] = []
        create(create_markdown_artifact, render_markdown(report, outcome, error), "report", outcome)
        for picture in pictures:
            uri = data_uri("image/svg+xml", picture.svg.encode())
            create(create_image_artifact, uri, f"frame-{picture.frame}", escape(picture.description))
        # drawn while the others are sent; cancelling is to be quick
        if report.scores and outcome != "cancelled":
            uri = data_uri("image/svg+xml", plot_scores(report.scores).encode())
            create(create_image_artifact, uri, "scores", "scores")
        for each in created:
            each.result()


def draw_frames(client: Client, plan: Plan, how_many: int = 4) -> list[Drawing]:
    """Draw a few frames of a task with the annotations that CVAT has now, see `draw_sample_frames`.

    Returns:
        The pictures; none, after a warning, if CVAT does not send the images or annotations.
    """
    with warn_if_not_drawn(f"the frames of task {plan.task.id}"):
        return draw_sample_frames(client, plan, how_many)
    return []


@contextmanager
def warn_if_not_drawn(what: str) -> Iterator[None]:
    """Log a warning instead of raising when frames cannot be drawn, or a page cannot be written.

    Args:
        what: What is missing then, such as `the page of task 42`.
    """
    try:
        yield
    except (PrefectCvatError, ValueError, OSError) as error:
        get_run_logger().warning(
            "%s could not be made: %s; the annotations in CVAT are not affected", what, describe_error(error)
        )


@contextmanager
def warn_if_refused() -> Iterator[None]:
    """Log a warning instead of raising when the Prefect server refuses an artifact."""
    try:
        yield
    except _PREFECT_ERRORS as error:
        get_run_logger().warning(
            "not all artifacts of the run could be created: %s; the annotations in CVAT are not affected",
            _brief(error),
        )


def _brief(error: Exception) -> str:
    """An error of the Prefect server as one short line."""
    return describe_error(error, MAX_ERROR_CHARACTERS)


def data_uri(media_type: str, content: bytes) -> str:
    """An image as a `data:` URI, for an image artifact."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
