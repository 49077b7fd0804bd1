"""What one sees of a run in Prefect: a bar that moves, a report, pictures, a link to the task in CVAT.

All this is for looking at. When Prefect's server does not take it, or CVAT's does not give the pictures, the
run warns and goes on: what it is for is in CVAT.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import Logger, LoggerAdapter
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.messages.bounded_text import describe_error
from prefect_cvat.planning.plan import Plan
from prefect_cvat.reporting.markdown_report import Outcome, escape, render_markdown, task_link
from prefect_cvat.reporting.plots import plot_scores
from prefect_cvat.reporting.task_pictures import Picture, draw_task_frames
from prefect_cvat.runs.progress import LoggedProgress
from prefect_cvat.runs.report import RunReport

__all__ = ["ArtifactProgress", "data_uri", "draw_frames", "only_warned", "publish_report"]

SECONDS_BETWEEN_UPDATES = 1.0
"""How often the bar moves at the most."""

MOST_TIME_SHARE = 0.05
"""Which part of the run's time updates of the bar may take at the most, however slow the server is."""

MOST_ERROR_LETTERS = 200
"""How much of an error of Prefect's server is logged; it may quote what was sent."""

_PREFECT_ERRORS = (httpx.HTTPError, ObjectNotFound)
"""What Prefect's client raises when its server refuses, does not answer, or has no such artifact any more."""


class ArtifactProgress:
    """Telling how far a run is: as a progress artifact of the flow run, and as lines in its log.

    The artifact is updated about once a second. An update is sent once, without Prefect's own retries, and
    the time until the next one grows with what it took: a server that is slow or gone holds the run up by
    one part in twenty at the most. That one fails is said once; the next one shows what was missed. Only
    the last has no next one, and is sent with Prefect's retries.

    Args:
        report: The report of the run, which names the task once the run has begun.
        logger: The logger of the flow run.
    """

    def __init__(self, report: RunReport, logger: Logger | LoggerAdapter[Logger]) -> None:
        self._report = report
        self._logger = logger
        self._lines = LoggedProgress(logger.info)
        self._artifact: UUID | None = None
        self._total = 0
        self._done = 0
        self._next_update = 0.0
        self._has_warned = False
        before = get_settings_context()
        settings = before.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
        self._without_retries = SettingsContext(profile=before.profile, settings=settings)

    def start(self, total: int) -> None:
        """Create the artifact."""
        self._lines.start(total)
        self._total = total
        with self._without_retries:
            self._show()

    def advance(self, frames: int) -> None:
        """Move the bar, unless it was moved just now."""
        self._lines.advance(frames)
        self._done += frames
        if time.monotonic() >= self._next_update:
            with self._without_retries:
                self._show()

    def finish(self) -> None:
        """Move the bar to where it stays; when the run has failed, that is where it broke off."""
        self._lines.finish()
        self._show()

    def _show(self) -> None:
        percent = round(100 * self._done / self._total, 1) if self._total else 100.0
        description = (
            f"{task_link(self._report)}, with {escape(self._report.function)}:"
            f" {self._done} of {self._total} frames"
        )
        started = time.monotonic()
        try:
            if self._artifact is None:
                key = f"progress-task-{self._report.task_id}"
                self._artifact = cast("UUID", create_progress_artifact(percent, key, description))
            else:
                update_progress_artifact(self._artifact, percent, description)
        except _PREFECT_ERRORS as error:
            if not self._has_warned:
                self._logger.warning(
                    "the progress artifact is not up to date: %s; the run goes on", _brief(error)
                )
            self._has_warned = True
        now = time.monotonic()
        self._next_update = now + max(SECONDS_BETWEEN_UPDATES, (now - started) / MOST_TIME_SHARE)


def publish_report(
    report: RunReport,
    *,
    outcome: Outcome = "completed",
    error: str | None = None,
    pictures: Sequence[Picture] = (),
) -> None:
    """Show in Prefect what a run did: artifacts of the current flow run.

    These are `report-task-N` (Markdown), `link-task-N` (to the task in CVAT), `scores-task-N` (a picture of
    how the scores are distributed, if there are any) and `frame-1-task-N` and so on.

    Args:
        report: What the run did; of one that did not complete, what it did until then.
        outcome: How the run ended.
        error: What went wrong.
        pictures: Frames with annotations, of `draw_frames`.
    """
    task = f"task-{report.task_id}"
    link = task_link(report)
    with only_warned():
        create_markdown_artifact(
            render_markdown(report, outcome, error), f"report-{task}", f"{link}: {outcome}"
        )
        create_link_artifact(report.url, f"Task {report.task_id} in CVAT", f"link-{task}", link)
        if report.scores:
            uri = data_uri("image/png", plot_scores(report.scores))
            create_image_artifact(uri, f"scores-{task}", f"{link}: scores")
        for number, picture in enumerate(pictures, 1):
            uri = data_uri("image/svg+xml", picture.svg.encode())
            create_image_artifact(uri, f"frame-{number}-{task}", f"{link}: {escape(picture.description)}")


def draw_frames(client: Client, plan: Plan, how_many: int = 4) -> list[Picture]:
    """Draw a few frames of a task with what is on the server, see `draw_task_frames`.

    Returns:
        The pictures; none where CVAT does not give what is needed, which is only warned of.
    """
    try:
        return draw_task_frames(client, plan, how_many)
    except PrefectCvatError as error:
        get_run_logger().warning("no frames of task %s can be shown: %s", plan.task.id, error)
        return []


@contextmanager
def only_warned() -> Iterator[None]:
    """Warn, and go on, when Prefect's server does not take an artifact."""
    try:
        yield
    except _PREFECT_ERRORS as error:
        get_run_logger().warning(
            "not all artifacts of the run could be made: %s; what is in CVAT is not affected", _brief(error)
        )


def _brief(error: Exception) -> str:
    """An error of Prefect's server in one line, without what was sent to it."""
    return describe_error(error, MOST_ERROR_LETTERS)


def data_uri(media_type: str, content: bytes) -> str:
    """A picture as the address of an image artifact."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
