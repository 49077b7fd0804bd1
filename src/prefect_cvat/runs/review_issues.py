"""Opens issues in CVAT on the frames to review first, each once.

A server may execute a request after the client has given up on it. So:

- After a request of unknown outcome, the job's issues are read until the issue exists, or until the server
  can no longer be executing the request. Only then is the request sent again.
- At the end, the issues are read once more. Of equal issues, the first is kept and the others are deleted,
  unless somebody has changed them.
- Requests and opened issues are recorded for `undo`, like annotations (`record_writer.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.issues import (
    MARK,
    RETRY,
    UNKNOWN_OUTCOME,
    Issue,
    delete_issue,
    has_unknown_outcome,
    issue_identity,
    list_issues,
)
from prefect_cvat.cvat.response_checks.response_parsing import parse_response
from prefect_cvat.exceptions import (
    PrefectCvatError,
)
from prefect_cvat.http.retry_policy import MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME
from prefect_cvat.planning.plan import TaskInfo
from prefect_cvat.records.record_writer import ISSUES, JobRecord, RunRecord
from prefect_cvat.review.frame_ranking import FrameReview
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.settings import current_settings
from prefect_cvat.upload.sending.job_requests import LONGEST_PAUSE, seconds_until_certain

__all__ = ["open_issues"]

logger = logging.getLogger(__name__)


def open_issues(
    client: Client, reviews: Iterable[FrameReview], info: TaskInfo, record: RunRecord, report: RunReport
) -> None:
    """Open an issue on each frame to review, unless the frame has one of an earlier run.

    A resolved issue of an earlier run also counts, so it is not opened again. Issues of users are ignored.

    Args:
        client: The server.
        reviews: The frames to review.
        info: The task, with the sizes of its frames.
        record: The record of the run.
        report: Receives the number of opened issues, and the first error. An error does not fail the run.
    """
    started = time.perf_counter()
    sizes = info.meta.frames  # one entry for all frames of a video
    jobs: dict[int, _JobIssues] = {}
    with _failure_reported(report):
        for review in reviews:
            job_id = review.job_id
            if job_id not in jobs:
                jobs[job_id] = _JobIssues(client, job_id, record.of_job(job_id))
            size = sizes[min(review.frame, len(sizes) - 1)]
            # CVAT draws four numbers as a rectangle
            position = review.box or (0.0, 0.0, size.width, size.height)
            is_new = jobs[job_id].open(review.frame, position, _message(review))
            report.issues_already_there += not is_new
    for job in jobs.values():
        with _failure_reported(report):
            job.finish()
    report.issues_opened = sum(job.opened for job in jobs.values())
    report.stage_seconds["issues"] = time.perf_counter() - started


class _JobIssues:
    """Opens issues in one job, each once.

    Args:
        client: The server.
        job_id: The id of the job.
        record: The record of the job.
    """

    def __init__(self, client: Client, job_id: int, record: JobRecord) -> None:
        self._client = client
        self._job_id = job_id
        self._record = record
        self._there = list_issues(client, job_id)
        self._before = {issue.id for issue in self._there}
        self._sent: set[bytes] = set()
        self._opened: set[int] = set()
        self._has_unknown_outcome = False
        self._unknown_until: float | None = (
            None  # by then the last request has been executed or never will be
        )

    @property
    def opened(self) -> int:
        """Number of issues opened by this run."""
        return len(self._opened)

    def open(self, frame: int, position: Sequence[float], message: str) -> bool:
        """Open an issue, unless a run has opened one on the frame; return whether it was opened.

        Raises:
            PrefectCvatError: The server refused a request, or all attempts failed.
        """
        if self._has_ours_on(frame):
            return False
        try:
            RETRY.retrying(retry_on=has_unknown_outcome, max_attempts=MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME)(
                self._send_unless_arrived, frame, position, message
            )
        except UNKNOWN_OUTCOME:
            if not self._has_arrived(frame):
                raise
        return True

    def finish(self) -> None:
        """Delete duplicates of issues that existed before or were opened by this run."""
        if self._has_unknown_outcome:
            self._read_back()
        for issue in _duplicates(issue for issue in self._there if issue.id in self._before | self._opened):
            delete_issue(self._client, issue.id)
            self._record.removed([(ISSUES, issue.id)])
            self._opened.discard(issue.id)
        self._record.settled()

    def _send_unless_arrived(self, frame: int, position: Sequence[float], message: str) -> None:
        if self._unknown_until is not None and self._has_arrived(frame):
            return
        try:
            self._send(frame, position, message)
        except UNKNOWN_OUTCOME as error:
            self._has_unknown_outcome = True
            settings = current_settings()
            seconds = seconds_until_certain(error, settings.late_commit_seconds)
            self._unknown_until = time.monotonic()
            if seconds is not None:
                self._unknown_until += seconds + settings.stale_read_seconds
            logger.warning("job %d: %s; reading the issues to see whether it was opened", self._job_id, error)
            raise
        self._unknown_until = None

    def _has_arrived(self, frame: int) -> bool:
        """Read the issues until one is on the frame, or the server cannot be executing the request."""
        until, self._unknown_until = self._unknown_until or 0.0, None
        delay = 0.5
        while True:
            is_last = time.monotonic() >= until
            self._read_back()
            if is_last or self._has_ours_on(frame):
                return self._has_ours_on(frame)
            time.sleep(min(delay, max(until - time.monotonic(), 0.0)))
            delay = min(2 * delay, LONGEST_PAUSE)

    def _has_ours_on(self, frame: int) -> bool:
        return any(issue.frame == frame and issue.is_ours for issue in self._there)

    def _send(self, frame: int, position: Sequence[float], message: str) -> None:
        identity = issue_identity(frame, message)
        known = max((issue.id for issue in self._there), default=0)
        self._record.sending([identity], {ISSUES: max(known, *self._opened, 0)})
        self._sent.add(identity)
        body = {"job": self._job_id, "frame": frame, "position": list(position), "message": message}
        answer = self._client.json("POST", "/api/issues", body=body)
        self._remember_opened(parse_response(Issue, answer, "a new issue").id, identity)

    def _read_back(self) -> None:
        """Read the issues of the job; record new ones that equal a sent one."""
        self._there = list_issues(self._client, self._job_id)
        for issue in self._there:
            if issue.id not in self._before | self._opened and issue.identity in self._sent:
                self._remember_opened(issue.id, issue.identity)

    def _remember_opened(self, issue_id: int, identity: bytes) -> None:
        self._record.added([(ISSUES, issue_id, identity)])
        self._opened.add(issue_id)


def _duplicates(issues: Iterable[Issue]) -> list[Issue]:
    """Unresolved issues opened by runs that equal an earlier one and that nobody has changed."""
    seen: set[bytes] = set()
    duplicates = []
    for issue in issues:
        if issue.is_ours and not issue.resolved:
            if issue.identity in seen and issue.is_untouched:
                duplicates.append(issue)
            seen.add(issue.identity)
    return duplicates


def _message(review: FrameReview) -> str:
    return f"{MARK}{'; '.join(review.reasons)} (expected corrections: {review.expected_corrections:.2f})"


@contextmanager
def _failure_reported(report: RunReport) -> Iterator[None]:
    """Put the first error into the report."""
    try:
        yield
    except PrefectCvatError as error:
        report.issues_failed = report.issues_failed or str(error)
