"""Taking back what a run has added, by its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from prefect_cvat.client import Client
from prefect_cvat.counted import counted
from prefect_cvat.identity import AttributeDefaults, attribute_defaults, identity
from prefect_cvat.issues import Issue, delete_issue, list_issues
from prefect_cvat.models import Job
from prefect_cvat.recorded_run import RecordedJob, RecordedRun, find_run, read_run, recorded_runs
from prefect_cvat.run_lock import only_run_on
from prefect_cvat.run_record import ISSUES, AnnotationId
from prefect_cvat.server_url import normalize_url
from prefect_cvat.upload import JobWriter

__all__ = ["UndoReport", "undo_run"]


class UndoReport(BaseModel):
    """What undoing a run has done, or would do.

    Attributes:
        run: The id of the run.
        task_id: The task.
        url: Its address in CVAT.
        function: The name of the function of the run.
        started: When the run began.
        removed: How many annotations were removed.
        changed: How many stay because somebody has changed them since.
        gone: How many were gone already.
        not_brought_back: How many the run had removed for others that it has added.
        issues_removed: How many issues that the run had opened were removed.
        issues_touched: How many stay because somebody has resolved them, replied, or given them to somebody.
        dry_run: Whether nothing was removed in fact.
    """

    model_config = ConfigDict(extra="forbid")

    run: str
    task_id: int
    url: str
    function: str
    started: datetime
    removed: int = 0
    changed: int = 0
    gone: int = 0
    not_brought_back: int = 0
    issues_removed: int = 0
    issues_touched: int = 0
    dry_run: bool = False

    def lines(self) -> list[str]:
        """The report as plain lines, for a terminal or a log."""
        removed = "would be removed" if self.dry_run else "removed"
        lines = [
            f"run {self.run} of {self.function}, {self.started:%Y-%m-%d %H:%M} UTC, on {self.url}",
            f"{self.removed} {removed}, {self.changed} changed since and kept, {self.gone} gone already",
        ]
        if self.issues_removed or self.issues_touched:
            lines.append(
                f"issues: {self.issues_removed} {removed}, {self.issues_touched} touched since and kept"
            )
        if self.removed and self.not_brought_back:
            lost = counted(self.not_brought_back, "annotation")
            lines.append(f"what the run had removed is not brought back: {lost}")
        return lines


def undo_run(client: Client, run: str | Path, *, dry_run: bool = False) -> UndoReport:
    """Remove the annotations and issues that a run has added, but for what somebody has changed since.

    What the run has removed for them (`existing="clear"`, say, or shapes that became tracks) is not brought
    back. Trying again after a failure goes on with what is left.

    Args:
        client: The server, logged in.
        run: The id of the run, the first eight characters of it or more, or the file of its report.
        dry_run: Count only, and remove nothing.

    Returns:
        What was removed, and what was not.

    Raises:
        RunNotFoundError: There is no record of such a run.
        RunInProgressError: A run is annotating the task.
        ValueError: The run was on another server, or it is not clear which run is meant.
        PrefectCvatError: The server refused, or did not answer for good.
    """
    recorded = read_run(find_run(run))
    header = recorded.header
    if normalize_url(header.server) != client.url:
        raise ValueError(
            f"run {header.run} was on {header.server}, not on {client.url}; log in to that server to undo it"
        )
    task = client.task(header.task_id)
    report = UndoReport(
        run=header.run,
        task_id=task.id,
        url=f"{client.url}/tasks/{task.id}",
        function=header.provenance.function,
        started=header.started,
        not_brought_back=sum(job.replaced for job in recorded.jobs.values()),
        dry_run=dry_run,
    )
    defaults = attribute_defaults(tuple(client.labels(task.id)))
    of_others = _added_by_others(recorded)
    pickers = {job_id: _Picker(job, defaults, of_others) for job_id, job in recorded.jobs.items()}
    jobs = [job for job in client.jobs(task.id) if job.id in pickers]
    if dry_run:
        for job in jobs:
            for kind, annotation in client.each_job_annotation(job.id):
                pickers[job.id].is_to_go(kind, annotation)
            _issues_to_go(client, job, pickers[job.id])
    else:
        _remove(client, task.id, jobs, pickers)
    for picker in pickers.values():
        picker.add_to(report)
    return report


def _remove(client: Client, task_id: int, jobs: Sequence[Job], pickers: Mapping[int, _Picker]) -> None:
    with only_run_on(client.url, task_id) as lock:
        may_come_late, lock.is_unsure = lock.follows_unsure, True  # until all has been removed
        for job in jobs:
            writer = JobWriter(client, job)
            if may_come_late:
                writer.expect_late_commit()
            writer.remove(pickers[job.id].is_to_go)
        for job in jobs:
            for issue in _issues_to_go(client, job, pickers[job.id]):
                delete_issue(client, issue.id)
        lock.is_unsure = False


def _issues_to_go(client: Client, job: Job, picker: _Picker) -> list[Issue]:
    if not picker.may_have_issues:
        return []
    return [issue for issue in list_issues(client, job.id) if picker.is_issue_to_go(issue)]


def _added_by_others(recorded: RecordedRun) -> Collection[AnnotationId]:
    """What is known to be of other runs; nothing if it is known of all that this one has sent where it is."""
    if not any(count > 0 for job in recorded.jobs.values() for count in job.unsettled.values()):
        return ()
    this = recorded.header
    return {
        key
        for other in recorded_runs()
        if (other.server, other.task_id) == (this.server, this.task_id) and other.run != this.run
        for job in read_run(other.run).jobs.values()
        for key in job.added
    }


class _Picker:
    """Picks what a run has added to a job and nobody has changed, and counts, by kind.

    Attributes:
        may_have_issues: Whether there may be issues to pick.
    """

    def __init__(
        self, job: RecordedJob, defaults: AttributeDefaults, of_others: Collection[AnnotationId]
    ) -> None:
        self.may_have_issues = job.may_have_issues
        self._removed: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._gone = Counter(kind for kind, _ in job.added)
        self._job = job
        self._defaults = defaults
        self._of_others = of_others
        self._unsettled = job.unsettled.copy()

    def is_to_go(self, kind: str, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation of the job is to be removed. Each is shown once."""
        return self._pick((kind, annotation["id"]), identity(annotation, self._defaults).hex())

    def is_issue_to_go(self, issue: Issue) -> bool:
        """The same of an issue."""
        return self._pick((ISSUES, issue.id), issue.identity.hex() if issue.is_untouched else "touched")

    def add_to(self, report: UndoReport) -> None:
        """Add to a report what was picked, what somebody has changed, and what was not seen."""
        report.issues_removed += self._removed[ISSUES]
        report.issues_touched += self._changed[ISSUES]
        report.removed += self._removed.total() - self._removed[ISSUES]
        report.changed += self._changed.total() - self._changed[ISSUES]
        report.gone += self._gone.total() - self._gone[ISSUES]

    def _pick(self, key: AnnotationId, told: str) -> bool:
        kind, number = key
        recorded = self._job.added.get(key)
        if recorded is not None:
            self._gone[kind] -= 1
            self._changed[kind] += told != recorded
            is_ours = told == recorded
        else:
            is_ours = (
                self._unsettled[told] > 0
                and number > self._job.after.get(kind, 0)
                and key not in self._of_others
            )
            self._unsettled[told] -= is_ours
        self._removed[kind] += is_ours
        return is_ours
