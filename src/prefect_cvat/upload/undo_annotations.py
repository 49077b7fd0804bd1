"""Removes what a run has added, according to its record."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from prefect_cvat.annotations.content_digest import AttributeDefaults, attribute_defaults, content_digest
from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.issues import Issue, delete_issue, list_issues
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.cvat.task_identity import TaskIdentity
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job
from prefect_cvat.planning.task_info import read_jobs
from prefect_cvat.records.annotation_index import AnnotationIds
from prefect_cvat.records.record_reader import RecordedJob, RecordedRun, find_run, read_run, recorded_runs
from prefect_cvat.records.record_writer import ISSUES, AnnotationId, RecordHeader
from prefect_cvat.records.run_lock import exclusive_run
from prefect_cvat.records.written_reader import note_removed
from prefect_cvat.settings import Settings
from prefect_cvat.upload.job_writer import job_requests

__all__ = ["UndoReport", "undo_run"]


class UndoReport(BaseModel):
    """What undoing a run has removed, or would remove.

    Attributes:
        run: The id of the run.
        task_id: The id of the task.
        url: The URL of the task.
        function: The name of the function of the run.
        started: The start time of the run.
        removed: Number of removed annotations.
        changed: Number of annotations that stay because somebody has changed them since.
        gone: Number of annotations that were gone already.
        not_brought_back: Number of annotations that the run had replaced, and that are not restored.
        issues_removed: Number of removed issues that the run had opened.
        issues_touched: Number of issues that stay because somebody has resolved, answered or assigned them.
        dry_run: Whether nothing was actually removed.
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
            lost = pluralize(self.not_brought_back, "annotation")
            lines.append(f"replaced by the run and not restored: {lost}")
        return lines


def undo_run(client: AnyClient, run: str | Path, *, dry_run: bool = False) -> UndoReport:
    """Remove the annotations and issues that a run has added, except those somebody has changed since.

    Annotations that the run has replaced (with `existing="clear"`, say, or shapes that became tracks) are not
    restored. After a failure, call again to remove the rest.

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        run: The id of the run, at least its first eight characters, or the path of its report.
        dry_run: Count the annotations and issues, but remove nothing.

    Returns:
        The numbers of annotations and issues that were removed, and that were not.

    Raises:
        RunNotFoundError: There is no record of the run.
        RunInProgressError: A run is annotating the task.
        ValueError: The run was on another server, or on another task with this id, or several runs match.
        PrefectCvatError: The server refused a request, or did not answer after all attempts.
    """
    client = own_client(client)
    recorded = read_run(find_run(run))
    header = recorded.header
    if server_identity(header.server) != server_identity(client.url):
        raise ValueError(
            f"run {header.run} was on {header.server}, not on {client.url}; log in to that server to undo it"
        )
    if not dry_run:
        client.check_may_write()
    there = read_jobs(client, header.task_id, recorded.jobs.keys())
    _check_same_task(header, there.identity)
    task, jobs = there.task, there.jobs
    report = UndoReport(
        run=header.run,
        task_id=task.id,
        url=f"{client.url}/tasks/{task.id}",
        function=header.provenance.function,
        started=header.started,
        not_brought_back=sum(job.replaced for job in recorded.jobs.values()),
        dry_run=dry_run,
    )
    defaults = attribute_defaults(there.labels)
    of_others = _added_by_others(recorded)
    pickers = {job_id: _Picker(header.run, job, defaults, of_others) for job_id, job in recorded.jobs.items()}
    if dry_run:
        for job in jobs:
            pickers[job.id].pick(client.iter_job_annotations(job.id), 0)
            _issues_to_go(client, job, pickers[job.id])
    else:
        seen_after = recorded.written + Settings().stale_read_seconds
        _remove(client, header, jobs, pickers, seen_after=seen_after)
    for picker in pickers.values():
        picker.add_to(report)
    return report


def _check_same_task(header: RecordHeader, now: TaskIdentity) -> None:
    """Check that a task is the one annotated by the run, not another one with the same id."""
    if differences := header.task.differences(now):
        raise ValueError(
            f"run {header.run} was on another task {header.task_id} than the one now on {header.server}:"
            f" {'; '.join(differences)}. CVAT was reinstalled, or the media were changed; the annotations"
            " there are not from this run, and nothing was removed"
        )


def _remove(
    client: Client,
    header: RecordHeader,
    jobs: Sequence[Job],
    pickers: Mapping[int, _Picker],
    *,
    seen_after: float,
) -> None:
    """Remove the annotations and issues that the pickers pick.

    Args:
        client: The server.
        header: The header of the record.
        jobs: The jobs.
        pickers: The pickers, by job id.
        seen_after: The time (`time.time`) after which reads show all writes of the run.
    """
    with exclusive_run(client.url, header.task_id) as lock:
        lock.wait_for_earlier_write(Settings().late_commit_seconds)
        to_look_at = list(jobs)
        until = time.monotonic() + min(Settings().stale_read_seconds, seen_after - time.time())
        while True:
            is_last = time.monotonic() >= until
            for job in to_look_at:
                for part in job_requests(client, job.id).remove(pickers[job.id].note, time.sleep):
                    pickers[job.id].removed(part)
            to_look_at = [job for job in to_look_at if pickers[job.id].gone]
            if is_last or not to_look_at:
                break
            time.sleep(min(0.5, max(0.0, until - time.monotonic())))
        for job in jobs:
            for issue in _issues_to_go(client, job, pickers[job.id]):
                delete_issue(client, issue.id)


def _issues_to_go(client: Client, job: Job, picker: _Picker) -> list[Issue]:
    if not picker.may_have_issues:
        return []
    return [issue for issue in list_issues(client, job.id) if picker.is_issue_to_go(issue)]


def _added_by_others(recorded: RecordedRun) -> Collection[AnnotationId]:
    """Ids of annotations of other runs; empty if the outcomes of all requests of this run are known."""
    if not any(job.is_unsettled for job in recorded.jobs.values()):
        return ()
    this = recorded.header
    server = server_identity(this.server)
    return AnnotationIds(
        key
        for other in recorded_runs()
        if (server_identity(other.server), other.task_id) == (server, this.task_id) and other.run != this.run
        for job in read_run(other.run).jobs.values()
        for key in job.added
    )


class _Picker:
    """Picks and counts what a run has added to a job and nobody has changed.

    It may read a job several times; it counts what was removed, and what the last reading shows.

    Attributes:
        may_have_issues: Whether there may be issues to pick.
    """

    def __init__(
        self, run: str, job: RecordedJob, defaults: AttributeDefaults, of_others: Collection[AnnotationId]
    ) -> None:
        self.may_have_issues = job.may_have_issues
        self._run = run
        self._job = job
        self._defaults = defaults
        self._of_others = of_others
        self._removed = AnnotationIds()
        self._look = _Look(job, of_others)
        self._issues = _Look(job, of_others)

    def pick(self, on_server: Iterable[ServerAnnotation], max_count: int) -> list[ServerAnnotation]:
        """Pick at most `max_count` annotations to remove, from all annotations of the job."""
        self._look = look = _Look(self._job, self._of_others)
        picked: list[ServerAnnotation] = []
        for kind, annotation in on_server:
            key = (kind, annotation["id"])
            if (
                look.is_ours(key, content_digest(annotation, self._defaults).hex())
                and len(picked) < max_count
            ):
                picked.append((kind, annotation))
        return picked

    def note(self, on_server: Iterable[ServerAnnotation], max_count: int) -> list[ServerAnnotation]:
        """Pick, and note before the request what it removes, so that nobody seems to have deleted it."""
        if picked := self.pick(on_server, max_count):
            note_removed(self._run, ((kind, annotation["id"]) for kind, annotation in picked))
        return picked

    def removed(self, part: Iterable[AnnotationId]) -> None:
        """Count annotations as removed."""
        self._removed.update(part)

    @property
    def gone(self) -> int:
        """The number of annotations of the run that the last reading no longer shows."""
        known = self._removed, self._look.ours, self._look.changed
        return sum(key[0] != ISSUES and not any(key in ids for ids in known) for key in self._job.added)

    def is_issue_to_go(self, issue: Issue) -> bool:
        """Whether to remove an issue of the job. Call this once for each issue."""
        return self._issues.is_ours(
            (ISSUES, issue.id), issue.identity.hex() if issue.is_untouched else "touched"
        )

    def add_to(self, report: UndoReport) -> None:
        """Add to a report what was picked, changed by somebody, or not seen."""
        report.issues_removed += len(self._issues.ours)
        report.issues_touched += len(self._issues.changed)
        removed = self._look.ours if report.dry_run else self._removed
        report.removed += len(removed)
        report.changed += len(self._look.changed)
        report.gone += self.gone


class _Look:
    """Finds the annotations of a run in one reading of a job.

    Attributes:
        ours: Annotations that the run has added and nobody has changed.
        changed: Annotations that the run has added and somebody has changed.
    """

    def __init__(self, job: RecordedJob, of_others: Collection[AnnotationId]) -> None:
        self.ours = AnnotationIds()
        self.changed = AnnotationIds()
        self._job = job
        self._of_others = of_others
        self._unsettled = job.unsettled.copy()

    def is_ours(self, key: AnnotationId, digest: str) -> bool:
        """Whether the run has added the annotation with this id, and its digest is unchanged."""
        kind, number = key
        recorded = self._job.added.get(key)
        if recorded is not None:
            (self.ours if digest == recorded else self.changed).add(key)
            return digest == recorded
        is_new = number > self._job.after.get(kind, 0) and key not in self._of_others
        is_ours = is_new and self._unsettled[digest] > 0
        if is_ours:
            self._unsettled[digest] -= 1
            self.ours.add(key)
        return is_ours
