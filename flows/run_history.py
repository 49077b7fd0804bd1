"""What completed runs have annotated, by the tags of their flow runs in Prefect.

All completed runs with the same function and settings are read at once, a few hundred in a request. A task
whose jobs are all annotated gets a further tag on one of these runs: the date of the task's last change in
CVAT. While that date stays the same, the media are the same, too (CVAT 2.73 changes it whenever it changes a
chunk), so the next run on the project skips the task without a request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from prefect_cvat.flows.flow_run_keys import is_key_tag, jobs_of
from prefect_cvat.models import Task

__all__ = ["RunHistory"]

PAGE = 200
"""Flow runs in a request: the maximum of Prefect."""

_UNCHANGED = "unchanged since:"


@dataclass
class _TaskHistory:
    """The completed runs on a task.

    Attributes:
        run: One of the runs: that with the tag.
        tags: Its tags.
        jobs: The ids of annotated jobs by `key_tag`; None for all jobs.
        unchanged: The date of the task's last change when all of its jobs were annotated; empty if unknown.
    """

    run: UUID
    tags: list[str]
    jobs: dict[str, set[int] | None] = field(default_factory=dict)
    unchanged: str = ""


class RunHistory:
    """What completed runs with the same function and settings have annotated.

    Args:
        prefect: The Prefect server.
        settings: The tag of the runs, see `settings_tag`.
    """

    def __init__(self, prefect: SyncPrefectClient, settings: str) -> None:
        self._prefect = prefect
        self._tasks: dict[int, _TaskHistory] = {}
        for run in _completed_runs(prefect, settings):
            self._take(run)

    def has_annotated(self, task: Task) -> bool:
        """Whether completed runs have annotated anything of a task, of its present or former media."""
        return task.id in self._tasks

    def is_unchanged(self, task: Task) -> bool:
        """Whether all jobs of a task are annotated, and nothing of it has changed since then."""
        history = self._tasks.get(task.id)
        return history is not None and history.unchanged != "" and history.unchanged == _date(task)

    def has_annotated_all(self, task: Task, key_tag: str) -> bool:
        """Whether a completed run with a `key_tag` has annotated all jobs of a task."""
        history = self._tasks.get(task.id)
        return history is not None and history.jobs.get(key_tag, ()) is None

    def annotated_jobs(self, task: Task, key_tag: str, jobs: Collection[int]) -> set[int]:
        """The jobs, of those given, that completed runs with a `key_tag` have annotated."""
        history = self._tasks.get(task.id)
        annotated = set() if history is None else history.jobs.get(key_tag, set())
        return set(jobs) if annotated is None else annotated.intersection(jobs)

    def mark_unchanged(self, task: Task) -> None:
        """Remember that all jobs of a task are annotated.

        Args:
            task: The task, read before its media were found to be those that were annotated.
        """
        history = self._tasks[task.id]
        if date := _date(task):
            tags = [tag for tag in history.tags if not tag.startswith(_UNCHANGED)]
            # without the tag, the next run on the project sends one request more
            with suppress(httpx.HTTPError, ObjectNotFound):
                self._prefect.update_flow_run(history.run, tags=[*tags, f"{_UNCHANGED}{date}"])

    def _take(self, run: FlowRun) -> None:
        task_id = run.parameters.get("task_id")
        key_tag = next(filter(is_key_tag, run.tags), None)
        if not isinstance(task_id, int) or key_tag is None:
            return
        history = self._tasks.setdefault(task_id, _TaskHistory(run.id, run.tags))
        jobs = jobs_of(run)
        annotated = history.jobs.setdefault(key_tag, set())
        if jobs is None or annotated is None:
            history.jobs[key_tag] = None
        else:
            annotated.update(jobs)
        for tag in run.tags:
            if tag.startswith(_UNCHANGED) and (date := tag.removeprefix(_UNCHANGED)) > history.unchanged:
                history.run, history.tags, history.unchanged = run.id, run.tags, date


def _completed_runs(prefect: SyncPrefectClient, tag: str) -> Iterator[FlowRun]:
    """The completed runs with a tag; a run that completes meanwhile may make another one appear twice."""
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
    )
    offset = 0
    while True:
        runs = prefect.read_flow_runs(
            flow_run_filter=wanted, limit=PAGE, offset=offset, sort=FlowRunSort.ID_DESC
        )
        yield from runs
        if len(runs) < PAGE:
            return
        offset += len(runs)


def _date(task: Task) -> str:
    return "" if task.updated_date is None else task.updated_date.isoformat()
